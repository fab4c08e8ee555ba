"""A mirror's manifest: found without mteb, and true to every file, or one line that says what is not."""

import json
import subprocess
import sys

import pytest

from embedkit.core.errors import ArtifactError, DataError
from embedkit.evaluation.mirror.from_tables import mirror_from_tables
from embedkit.evaluation.mirror.manifest import Manifest, entry_of, read_manifest, tasks_in, verify
from tests.evaluation.mirror.facts import COMMIT, STS, write_sts


@pytest.fixture
def mirror(tmp_path):
    mirror_from_tables(tmp_path / "mirror", STS, write_sts(tmp_path / "sts"))
    return tmp_path / "mirror"


def test_an_entry_is_what_its_manifest_says(mirror):
    entry = entry_of(mirror, "STS13")
    manifest = verify(entry)
    assert manifest == read_manifest(entry)
    assert (manifest.task, manifest.path, manifest.origin, manifest.mteb) == ("STS13", STS.path, "tables", "2.26.0")
    assert sorted(manifest.files) == ["data/README.md", "data/default/test.parquet"]
    assert tasks_in(mirror) == ["STS13"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda entry: (entry / "data" / "README.md").write_text("other"), "data/README.md: altered since"),
        (lambda entry: (entry / "data" / "default" / "test.parquet").unlink(), "test.parquet: missing since"),
        (lambda entry: (entry / "data" / "new.csv").write_text("x"), "data/new.csv: was not there since"),
        (lambda entry: (entry / "data" / "manifest.json").write_text("x"), "data/manifest.json: was not there since"),
    ],
    ids=["altered", "missing", "extra", "a second manifest"],
)
def test_every_difference_is_one_line_with_the_path_and_the_remedy(mirror, change, said):
    change(mirror / "STS13")
    with pytest.raises(ArtifactError) as error:
        verify(mirror / "STS13")
    (line,) = error.value.problems
    assert said in line
    assert f"Delete {mirror / 'STS13'} and run `embedkit mirror --from-tables FOLDER --task STS13" in line


def test_no_more_than_a_few_lines(mirror):
    for number in range(9):
        (mirror / "STS13" / f"{number}.csv").write_text("x")
    with pytest.raises(ArtifactError) as error:
        verify(mirror / "STS13")
    assert len(error.value.problems) == 6
    assert error.value.problems[-1] == "... and 4 more"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format"),
        ({"task": "STS14"}, "is that of STS14, not of STS13"),
        ({"revision": COMMIT}, "does not start with its origin"),
        ({"origin": "rumour"}, "origin"),
    ],
)
def test_a_manifest_that_cannot_be_one_is_refused(mirror, change, said):
    path = mirror / "STS13" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactError, match=said):
        read_manifest(path.parent)


def test_a_broken_manifest_is_one_line(mirror):
    (mirror / "STS13" / "manifest.json").write_text('{"format"')
    with pytest.raises(ArtifactError, match=r"manifest\.json: is not a mirror's manifest: .*Delete .*/STS13"):
        read_manifest(mirror / "STS13")


def test_a_folder_without_a_manifest_is_no_entry(tmp_path):
    with pytest.raises(DataError, match=r"STS13: is no entry of a mirror, it has no manifest\.json; `embedkit mirror"):
        verify(tmp_path / "STS13")


def test_data_of_another_origin_never_has_the_official_revision():
    facts = {"task": "T", "path": "a/b", "mteb": "2", "files": {}}
    with pytest.raises(ValueError, match="does not start with its origin"):
        Manifest(**facts, origin="beir", revision=COMMIT)
    assert Manifest(**facts, origin="hub", revision=COMMIT).revision == COMMIT


def test_a_missing_entry_is_named_with_those_there_are(mirror, tmp_path):
    with pytest.raises(DataError, match="has STS13, but no STS12; did you mean 'STS13'"):
        entry_of(mirror, "STS12")
    with pytest.raises(DataError, match="no such folder"):
        entry_of(tmp_path / "none", "STS12")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has nothing, but no STS12; `embedkit mirror STS12 --to"):
        entry_of(tmp_path / "empty", "STS12")


def test_reading_a_manifest_imports_no_heavy_library(mirror):
    code = f"""
import sys
from pathlib import Path
from embedkit.evaluation.mirror.manifest import entry_of, verify
verify(entry_of(Path({str(mirror)!r}), "STS13"))
print([m for m in ("mteb", "datasets", "torch", "huggingface_hub") if m in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
