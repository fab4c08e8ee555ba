"""What users may import, and what importing costs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import embedkit

ROOT = Path(__file__).parents[1]


def test_public_names_are_sorted_and_there():
    assert embedkit.__all__ == sorted(embedkit.__all__)
    for name in embedkit.__all__:
        assert getattr(embedkit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = embedkit.nope


def test_every_package_is_listed_for_the_build():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "embedkit").rglob("__init__.py")}
    assert set(listed) == found | {"embedkit.recipes", "embedkit.eval.suites"}


def test_importing_embedkit_imports_no_heavy_library():
    code = "import embedkit, sys; print([m for m in ('torch', 'transformers', 'pydantic') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


HEAVY = ("transformers", "sentence_transformers", "faiss", "mteb", "datasets", "matplotlib", "bm25s", "datasketch")


def test_planning_imports_no_models_indexes_or_benchmarks():
    code = f"""
import sys
sys.argv = ["embedkit", "plan", "recipes/quickstart.yaml", "--store", sys.argv[1], "--json"]
from embedkit.cli import main
try:
    main()
finally:
    print("HEAVY", [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)
"""
    command = [sys.executable, "-c", code, "/nonexistent-store"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert "HEAVY []" in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


def test_the_wheel_has_recipes_data_and_templates(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    built = subprocess.run(
        [*command, "--wheel-dir", str(tmp_path), str(ROOT)], capture_output=True, text=True, check=False
    )
    if built.returncode and "setuptools" in built.stderr:
        pytest.skip("setuptools is not installed here")
    assert built.returncode == 0, built.stderr
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert "embedkit/recipes/quickstart.yaml" in names
    assert "embedkit/recipes/data/tldr/qrels/test.tsv" in names
    assert "embedkit/eval/suites/tldr.yaml" in names
    assert "embedkit/py.typed" in names
    assert any(name.startswith("embedkit/report/templates/") for name in names)
