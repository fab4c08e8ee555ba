"""What is known of real data sets."""

import json
import os
from pathlib import Path

import pytest

from embedkit.core.dataset import write_dataset
from embedkit.core.progress import silent
from embedkit.data.sources import BeirFolder
from tests.evaluation.contamination.test_command import command  # noqa: F401

DATA = Path(os.environ.get("EMBEDKIT_DATA", "no data"), "scifact")


@pytest.mark.skipif(not DATA.is_dir(), reason="needs SciFact in EMBEDKIT_DATA/scifact")
def test_scifacts_own_split_has_test_claims_among_its_training_claims(command, tmp_path):  # noqa: F811
    (tmp_path / "train").mkdir()
    write_dataset(tmp_path / "train", BeirFolder(path=DATA).load(tmp_path, silent)[0].dataset())
    problems, out = command("--train", tmp_path / "train", "--against", f"scifact={DATA}", "--json")
    assert problems == []
    (task,) = json.loads(out)["tasks"]
    claims = task["found"][0]
    assert (claims["of"], claims["among"], claims["texts"], claims["held"]) == ("queries", "queries", 809, 300)
    assert claims["touched"] == {"exact": 2, "inside_training": 1, "inside_evaluation": 2}
