import json

import pytest

from embedkit.core.errors import ArtifactError, DataError
from embedkit.evaluation.separation.results import Result, results
from tests.evaluation.separation.made import write_run


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path)


def test_a_run_folder_and_its_scores_lead_to_every_models_results(run):
    found = results(str(run))
    assert [(one.model, one.task) for one in found] == [("base", "sts"), ("base", "tldr"), ("soup", "tldr")]
    assert all((one.folder / "result.json").is_file() for one in found)
    assert results(str(run / "scores")) == found


def test_a_model_may_be_named(run):
    assert [one.task for one in results(f"{run}:soup")] == ["tldr"]
    with pytest.raises(DataError, match="has no model 'sopu'; it has base, soup; did you mean 'soup'"):
        results(f"{run}:sopu")


def test_one_result_stands_for_itself(run):
    folder = results(str(run))[0].folder
    assert results(str(folder)) == [Result(folder.name[:12], "sts", folder)]


def test_what_leads_nowhere_is_told(run, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        results(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no scores"):
        results(str(tmp_path / "empty"))
    (tmp_path / "empty" / "scores.json").write_text("{}")
    with pytest.raises(DataError, match="is no artifact of a store"):
        results(str(tmp_path / "empty"))
    (results(f"{run}:soup")[0].folder / "result.json").unlink()
    with pytest.raises(ArtifactError, match="the result of soup on tldr is gone; run the recipe again"):
        results(str(run))
    (run / "provenance.json").write_text(json.dumps({"stages": []}))
    with pytest.raises(ArtifactError, match="cannot be read"):
        results(str(run))
