"""The command `embedkit leaderboard`, on every kind of folder that holds scores."""

import json
import sys
from dataclasses import replace

import pytest
import typer

from embedkit.cli.leaderboard import leaderboard
from embedkit.core.entry import Facts
from embedkit.core.errors import DataError, RecipeError
from embedkit.evaluation import shared
from embedkit.oneshot.entries import facts_of, read_entries
from tests.report.fake import FakeRun, build_run

MEANS = {"base": 0.5, "warm": 0.52, "soup": 0.65}


@pytest.fixture(scope="module")
def fake(tmp_path_factory) -> FakeRun:
    return build_run(tmp_path_factory.mktemp("fake"), means=MEANS)


@pytest.fixture(scope="module")
def run(fake, tiny_model, tmp_path_factory):
    """The run folder of three models, one of which is a real model."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    folder.mkdir()
    keys = {name: fake.artifacts[name].key for name in (*MEANS, "scores")}
    inputs = {name: keys[name] for name in MEANS}
    stages = {name: {"key": key, "inputs": inputs if name == "scores" else {}} for name, key in keys.items()}
    (folder / "provenance.json").write_text(json.dumps({"stages": stages}))
    for name in ("base", "scores"):
        (folder / name).symlink_to(fake.artifacts[name].path)
    (folder / "soup").symlink_to(tiny_model)
    return folder


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs the command in a folder of its own; its output."""
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(leaderboard)

    def call(*words: object) -> str:
        app([*map(str, words), "--samples", "300"], standalone_mode=False)
        return capsys.readouterr().out

    return call


def test_a_run_folder_becomes_a_page_and_a_table(command, run, tmp_path):
    said = command(run, "--baseline", "base", "--out", "pages/board.html")
    text = (tmp_path / "pages" / "board.html").read_text()
    assert "wrote pages/board.html" in said
    assert said.index("soup") < said.index("warm") < said.index("base")
    for told in ("soup", "baseline", "nDCG@10", "300 resamples"):
        assert told in text


def test_json_holds_the_numbers_of_the_files(command, run, fake, tmp_path):
    found = json.loads(command(run, "--json"))
    scores = json.loads((run / "scores" / "scores.json").read_text())["models"]
    expected = {one["key"]: one["tasks"]["tldr"]["metrics"]["ndcg@10"] for one in scores}
    assert {one["revision"]: one["scores"][0]["value"] for one in found["models"]} == expected
    assert found["models"][0]["rank"] == 1
    assert not list(tmp_path.iterdir())


def test_a_run_tells_what_its_models_are(run, tiny_model):
    entries = {entry.name: entry for entry in read_entries([run])}
    assert entries["soup"].facts == facts_of(tiny_model) != Facts()
    assert entries["base"].facts == Facts()  # no model's files there


def test_a_folder_of_scores_is_named_by_the_run_it_stands_in(run, fake):
    assert [entry.name for entry in read_entries([run / "scores"])] == list(MEANS)
    alone = read_entries([fake.artifacts["scores"].path])
    assert [entry.name for entry in alone] == [fake.artifacts[name].key[:12] for name in MEANS]


def test_a_shared_folder_gives_what_the_run_gave(command, run, tmp_path):
    command(run, "--into", tmp_path / "all")
    theirs, ours = read_entries([tmp_path / "all"]), read_entries([run])
    assert {entry.name: entry for entry in theirs} == {entry.name: entry for entry in ours}
    assert "3 were there" in command(run, "--into", tmp_path / "all")


def test_a_model_of_two_folders_stands_there_once(run, tmp_path):
    (soup,) = (entry for entry in read_entries([run]) if entry.name == "soup")
    shared.add(replace(soup, facts=Facts(max_tokens=5)), tmp_path)
    entries = read_entries([tmp_path, run])
    assert sorted(entry.name for entry in entries) == sorted(MEANS)
    (soup,) = (entry for entry in entries if entry.name == "soup")
    assert (soup.facts.max_tokens, soup.facts.parameters) == (5, facts_of(run / "soup").parameters)


def test_folders_that_disagree_are_told(run, tmp_path):
    (soup,) = (entry for entry in read_entries([run]) if entry.name == "soup")
    folder = shared.add(soup, tmp_path).folder / "tldr" / "scores.json"
    said = json.loads(folder.read_text())
    said["models"][0]["tasks"]["tldr"]["metrics"]["ndcg@10"] = 0.9
    folder.write_text(json.dumps(said))
    with pytest.raises(DataError, match=r"has 0\.\d+ on tldr \(ndcg@10\), but 0\.9 in another"):
        read_entries([tmp_path, run])


def test_mtebs_results_need_no_values_by_query(command, tmp_path):
    folder = tmp_path / "cache" / "results" / "org__model" / "r1"
    folder.mkdir(parents=True)
    score = {"main_score": 0.6, "hf_subset": "default", "languages": ["eng-Latn"]}
    result = {"dataset_revision": "r", "task_name": "SciFact", "mteb_version": "2.26.24", "evaluation_time": 1.0}
    (folder / "SciFact.json").write_text(json.dumps({**result, "scores": {"test": [score]}}))
    (only,) = json.loads(command(tmp_path / "cache", "--json"))["models"]
    assert (only["name"], only["revision"], only["rank"]) == ("org/model", "r1", None)
    assert only["scores"] == [{"value": 0.6, "low": None, "high": None, "top": True}]


@pytest.mark.parametrize(("name", "told"), [("none", "no such folder"), ("empty", "holds no scores")])
def test_folders_without_scores_are_told(tmp_path, name, told):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=told):
        read_entries([tmp_path / name])


def test_a_confidence_that_is_none_is_told(command, run):
    with pytest.raises(RecipeError, match="--confidence 95"):
        command(run, "--confidence", "95")


def test_values_that_are_damaged_leave_no_wrong_interval(run, tmp_path):
    """Queries of one model that another lacks: that model has no interval, the others keep theirs."""
    (soup,) = (entry for entry in read_entries([run]) if entry.name == "soup")
    some = dict(list(soup.units["tldr"].items())[:-1])
    shared.add(replace(soup, name="short", units={"tldr": some}), tmp_path)
    from embedkit.report.comparison import Bootstrap
    from embedkit.report.standings import standings

    found = {one.label: one for one in standings(read_entries([run, tmp_path]), how=Bootstrap(samples=200)).lines}
    assert found["short"].cells[0].score.low is None
    assert found["soup"].cells[0].score.low is not None


def test_importing_the_command_loads_no_library():
    heavy = {"torch", "mteb", "matplotlib", "pandas"}
    code = f"import sys; import embedkit.cli.leaderboard; print(sorted({heavy!r} & set(sys.modules)))"
    import subprocess

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
