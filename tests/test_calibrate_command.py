"""The command `calibrate`, as a user types it."""

import json

import pytest
import typer
from typer.testing import CliRunner

from embedkit.cli.calibration import calibrate
from embedkit.core.errors import DataError, RecipeError
from embedkit.core.separation import write_separation
from embedkit.evaluation.separation.results import results
from tests.evaluation.separation.made import write_run

app = typer.Typer()
app.command()(calibrate)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("calibrate"))


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False).output


def test_it_tells_of_every_model_on_what_ranks(run):
    told = call(run, "--samples", 50)
    assert "base on tldr: 40 queries, 80 relevant and 800 other pairs" in told
    assert "soup on tldr" in told
    assert "sts" not in told
    assert told.count("AUC of all queries together") == 2
    assert told.count("precision 0.9 ") == 2


def test_json_has_what_is_asked_for(run):
    found = json.loads(call(f"{run}:soup", "--precision", 0.6, "--precision", 0.7, "--samples", 50, "--json"))
    assert [(one["model"], one["task"]) for one in found] == [("soup", "tldr")]
    assert [one["wanted"] for one in found[0]["thresholds"]["precision"]] == [0.6, 0.7]
    assert found[0]["pairs"]["depth"] == 500


def test_pages_are_written(run, tmp_path):
    told = call(run, "--task", "tldr", "--samples", 50, "--out", tmp_path / "made")
    assert "calibration.html" in told
    assert "ROC curves" in (tmp_path / "made" / "calibration.html").read_text()
    assert len(json.loads((tmp_path / "made" / "calibration.json").read_text())["figures"]) == 2


def test_models_of_one_name_are_told_apart_by_their_folders(run, tmp_path):
    other = write_run(tmp_path)
    found = json.loads(call(f"{run}:soup", f"{other}:soup", "--samples", 50, "--json"))
    assert [one["model"] for one in found] == [f"{run}:soup", f"{other}:soup"]


def test_what_is_known_of_vectors_is_kept(tmp_path):
    run = write_run(tmp_path)
    lie = {"alignment": 0.5, "tolerance": 0.75, "uniformity": {"documents": -3.0}}
    folder = results(f"{run}:soup")[0].folder
    write_separation(folder, {"": {"geometry": lie}})
    assert json.loads(call(f"{run}:soup", "--samples", 50, "--json"))[0]["geometry"] == lie


@pytest.mark.parametrize(
    ("words", "error", "problem"),
    [
        (["--precision", "1.5"], RecipeError, "--precision 1.5: expected a share"),
        (["--task", "nq"], DataError, "--task nq: no such task; the scores have sts, tldr"),
        (["--task", "sts"], DataError, "none of the tasks ranks documents"),
    ],
)
def test_mistakes_are_told_in_a_line(run, words, error, problem):
    with pytest.raises(error, match=problem):
        call(run, *words)
