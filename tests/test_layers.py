"""Who may import whom, and the few files that touch the outside world."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "embedkit").rglob("*.py"))


def test_imports_go_down():
    lint = Path(sys.executable).parent / "lint-imports"
    if not lint.is_file():
        pytest.skip("import-linter is not installed here")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("library", "files"),
    [
        ("torch.distributed", {"launching.py", "training/distributed.py"}),
        ("faiss", {"retrieval/flat.py", "doctor.py"}),
        (
            "mteb",
            {
                "evaluation/harness.py",
                "evaluation/local.py",
                "evaluation/meta.py",
                "evaluation/model.py",
                "evaluation/official.py",
                "evaluation/published.py",
                "evaluation/registry.py",
                "evaluation/submission.py",
                "evaluation/tasks/base.py",
                "evaluation/units.py",
            },
        ),
        ("bm25s", {"mining/bm25.py"}),
        ("datasketch", {"measures/duplicates.py"}),
    ],
)
def test_edges_are_few_and_named(library, files):
    pattern = re.compile(rf"^\s*(import {re.escape(library)}\b|from {re.escape(library)}[ .])", re.MULTILINE)
    found = {p.relative_to(ROOT / "embedkit").as_posix() for p in SOURCES if pattern.search(p.read_text())}
    assert found == files


def test_nothing_is_loaded_by_pickle_and_no_remote_code_is_trusted():
    for path in SOURCES:
        text = path.read_text()
        assert not re.search(r"^\s*(import|from) (pickle|dill|joblib)\b", text, re.MULTILINE), path
        assert "trust_remote_code=True" not in text, path
        assert "allow_pickle=True" not in text, path
        assert "yaml.load(" not in text, path
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call, path
