import json

import pytest

from embedkit.core.errors import ArtifactError, DataError
from embedkit.evaluation.comparing.systems import distinct, read_systems
from tests.evaluation.comparing.folders import (
    KEYS,
    queries,
    ranking,
    similarity,
    system,
    three,
    write_folder,
    write_run,
)

TEXTS = {"SciFact": {"q0": "is it so?"}}


def test_a_run_folder_gives_models_the_names_of_their_stages(tmp_path):
    write_run(tmp_path / "run", three(), TEXTS)
    found = read_systems(str(tmp_path / "run"))
    assert [s.name for s in found] == ["base", "better", "worse"]
    assert found[1].key == KEYS["better"]
    assert found[1].tasks["SciFact"].per_query == three()[1].tasks["SciFact"].per_query
    assert found[0].texts == TEXTS
    assert [s.name for s in read_systems(str(tmp_path / "run" / "scores"))] == ["base", "better", "worse"]


def test_a_folder_of_scores_names_models_by_key(tmp_path):
    write_folder(tmp_path / "scores", [system("base", STS=similarity(1.0))])
    (found,) = read_systems(str(tmp_path / "scores"))
    assert found.name == KEYS["base"][:12]
    assert list(found.tasks["STS"].items.ids) == [str(i) for i in range(60)]


@pytest.mark.parametrize("word", ["worse", KEYS["worse"][:6]])
def test_one_model_of_a_folder(tmp_path, word):
    run = write_run(tmp_path / "run", three())
    assert [s.name for s in read_systems(f"{run}:{word}")] == ["worse"]


def test_tasks_of_several_stages_are_one_systems(tmp_path):
    run = write_run(tmp_path / "run", [system("base", SciFact=ranking(queries()))])
    write_folder(run / "more", [system("base", STS=similarity(1.0))])
    told = json.loads((run / "provenance.json").read_text())
    told["stages"]["more"] = told["stages"]["scores"]
    (run / "provenance.json").write_text(json.dumps(told))
    (found,) = read_systems(str(run))
    assert list(found.tasks) == ["SciFact", "STS"]
    write_folder(run / "again", [system("base", STS=similarity(2.0))])
    told["stages"]["again"] = told["stages"]["scores"]
    (run / "provenance.json").write_text(json.dumps(told))
    with pytest.raises(DataError, match="two of its stages scored base on STS"):
        read_systems(str(run))


def twins(run):
    """A run in which base was given a second name."""
    write_run(run, three())
    told = json.loads((run / "provenance.json").read_text())
    told["stages"]["scores"]["inputs"]["twin"] = KEYS["base"]
    (run / "provenance.json").write_text(json.dumps(told))
    return str(run)


def test_two_names_of_one_model_are_one_system_by_both(tmp_path):
    run = twins(tmp_path / "run")
    assert [(s.name, list(s.aliases)) for s in read_systems(run)] == [("base", ["twin"]), ("better", []), ("worse", [])]
    groups = [(f"{run}:{name}", read_systems(f"{run}:{name}")) for name in ("base", "twin")]
    assert [s.name for _, (s,) in groups] == ["base", "base"]
    with pytest.raises(DataError, match="run:twin: base and twin are the same model, with the same weights"):
        distinct(groups)


def test_equal_names_are_told_apart_by_their_folders(tmp_path):
    words = [str(write_run(tmp_path / name, three()[:1])) for name in ("one", "two")]
    groups = [(word, read_systems(word)) for word in words]
    assert [s.name for s in distinct(groups)] == ["one:base", "two:base"]
    with pytest.raises(DataError, match="base is named twice"):
        distinct([groups[0], groups[0]])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nowhere", "no such file or folder"),
        ("run:bse", "has no model 'bse'; it has base, better, worse; did you mean 'base'"),
        ("run:a1", "has no model 'a1'"),
        ("empty", "holds no scores.json"),
        ("bare", "no stage of this run made scores"),
        ("broken", "cannot be read"),
        ("none", "names no model"),
    ],
)
def test_what_holds_no_scores_is_told(tmp_path, monkeypatch, word, message):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", three())
    for name in ("empty", "bare", "broken"):
        (tmp_path / name).mkdir()
    write_folder(tmp_path / "none", [])
    (tmp_path / "bare" / "provenance.json").write_text('{"stages": {}}')
    (tmp_path / "broken" / "provenance.json").write_text("[]")
    with pytest.raises((DataError, ArtifactError), match=message):
        read_systems(word)
