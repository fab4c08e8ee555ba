"""An entry of a mirror is complete or absent."""

from dataclasses import replace

import pytest

from embedkit.core.errors import ArtifactError, DataError
from embedkit.evaluation.mirror.entry import DRAFTS, make_entry
from embedkit.evaluation.mirror.manifest import read_manifest, verify
from tests.evaluation.mirror.facts import SCIFACT


def filled(text="x", *, files=("a.parquet",)):
    def fill(folder):
        for name in files:
            (folder / name).write_text(text)
        return SCIFACT.revision

    return fill


def drafts(mirror):
    return [path for path in (mirror / DRAFTS).iterdir() if path.is_dir()]


def test_nothing_is_published_before_all_is_there_and_a_later_run_goes_on(tmp_path):
    def stops(folder):
        filled(files=("a.parquet",))(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_entry(tmp_path, SCIFACT, "hub", stops, lambda entry: None)
    assert not (tmp_path / "SciFact").exists()

    def goes_on(folder):
        assert (folder / "a.parquet").read_text() == "x"
        return filled(files=("b.parquet",))(folder)

    make_entry(tmp_path, SCIFACT, "hub", goes_on, lambda entry: None)
    assert sorted(verify(tmp_path / "SciFact").files) == ["data/a.parquet", "data/b.parquet"]
    assert drafts(tmp_path) == []


def test_tasks_that_share_a_data_set_do_not_share_a_draft(tmp_path):
    def fill(folder):
        filled()(folder)
        make_entry(tmp_path, replace(SCIFACT, name="SciFact.v2"), "hub", filled("y"), lambda entry: None)
        return SCIFACT.revision

    make_entry(tmp_path, SCIFACT, "hub", fill, lambda entry: None)
    assert (tmp_path / "SciFact" / "data" / "a.parquet").read_text() == "x"
    assert (tmp_path / "SciFact.v2" / "data" / "a.parquet").read_text() == "y"


def test_what_fails_its_check_is_not_kept(tmp_path):
    def refuse(entry):
        assert read_manifest(entry).task == "SciFact"
        raise DataError("no good")

    with pytest.raises(DataError, match="no good"):
        make_entry(tmp_path, SCIFACT, "hub", filled(), refuse)
    assert not (tmp_path / "SciFact").exists()
    assert drafts(tmp_path) == []


def test_an_entry_that_is_there_is_checked_and_kept(tmp_path):
    first = make_entry(tmp_path, SCIFACT, "hub", filled(), lambda entry: None)

    def never(folder):
        raise AssertionError("downloaded again")

    assert make_entry(tmp_path, SCIFACT, "hub", never, never) == first
    (tmp_path / "SciFact" / "data" / "a.parquet").write_text("y")
    with pytest.raises(ArtifactError, match=r"a\.parquet: altered"):
        make_entry(tmp_path, SCIFACT, "hub", never, never)


def test_another_content_never_replaces_an_entry(tmp_path):
    def beir(digest):
        def fill(folder):
            (folder / "a.parquet").write_text(digest)
            return f"beir-{digest}"

        return make_entry(tmp_path, SCIFACT, "beir", fill, lambda entry: None)

    assert beir("1").revision == "beir-1"
    assert beir("1").revision == "beir-1"
    with pytest.raises(ArtifactError, match="holds revision beir-1, not beir-2"):
        beir("2")
    with pytest.raises(ArtifactError, match=f"holds revision beir-1, not {SCIFACT.revision}"):
        make_entry(tmp_path, SCIFACT, "hub", filled(), lambda entry: None)
    assert verify(tmp_path / "SciFact").revision == "beir-1"
    assert drafts(tmp_path) == []
