"""Downloads at the pinned revision; what is no table is not kept."""

import shutil

import pytest
from huggingface_hub.utils import filter_repo_objects

from embedkit.core.errors import DataError
from embedkit.evaluation.mirror.from_hub import mirror_from_hub
from embedkit.evaluation.mirror.manifest import verify
from tests.evaluation.mirror.facts import SCIFACT, hub_repository


@pytest.fixture
def repository(tmp_path):
    return hub_repository(tmp_path / "hub")


def downloader(repository, calls, *, honest=True):
    """`snapshot_download` from a local folder; a dishonest one brings everything."""

    def download(*, repo_id, repo_type, revision, local_dir, allow_patterns):
        calls.append((repo_id, repo_type, revision))
        names = [p.relative_to(repository).as_posix() for p in repository.rglob("*") if p.is_file()]
        for name in filter_repo_objects(names, allow_patterns=allow_patterns) if honest else names:
            (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repository / name, local_dir / name)
        (local_dir / ".cache" / "huggingface").mkdir(parents=True)
        (local_dir / ".cache" / "huggingface" / "x.metadata").write_text("time")

    return download


@pytest.mark.parametrize("honest", [True, False])
def test_tables_and_cards_are_kept_and_nothing_else(repository, tmp_path, honest):
    calls = []
    found = mirror_from_hub(tmp_path / "m", SCIFACT, download=downloader(repository, calls, honest=honest))
    assert calls == [("mteb/scifact", "dataset", SCIFACT.revision)]
    assert (found.revision, found.origin, found.path) == (SCIFACT.revision, "hub", "mteb/scifact")
    assert sorted(found.files) == ["data/README.md", "data/data/test.jsonl"]
    files = sorted(p.name for p in (tmp_path / "m" / "SciFact").rglob("*") if p.is_file())
    assert files == ["README.md", "manifest.json", "test.jsonl"]
    assert verify(tmp_path / "m" / "SciFact") == found


@pytest.mark.parametrize("name", ["a.jsonl.gz", "b.csv.zst", "c.parquet", "d.tsv", "e.arrow"])
def test_packed_tables_are_kept(repository, tmp_path, name):
    (repository / "data" / name).write_bytes(b"x")
    found = mirror_from_hub(tmp_path / "m", SCIFACT, download=downloader(repository, []))
    assert f"data/data/{name}" in found.files


def test_links_out_of_the_folder_are_dropped(repository, tmp_path):
    (tmp_path / "secret.csv").write_text("x")

    def download(*, local_dir, **rest):
        downloader(repository, [])(local_dir=local_dir, **rest)
        (local_dir / "linked.csv").symlink_to(tmp_path / "secret.csv")

    assert "data/linked.csv" not in mirror_from_hub(tmp_path / "m", SCIFACT, download=download).files


def test_a_repository_of_scripts_cannot_be_mirrored(tmp_path):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "load.py").write_text("")
    (tmp_path / "hub" / "README.md").write_text("")
    with pytest.raises(DataError, match=r"SciFact: cannot be mirrored: mteb/scifact at d56462.* has no tables"):
        mirror_from_hub(tmp_path / "m", SCIFACT, download=downloader(tmp_path / "hub", []))
    assert not (tmp_path / "m" / "SciFact").exists()


def test_a_download_that_fails_is_one_line(tmp_path):
    def fails(**_):
        raise ConnectionError("no route\nto the hub")

    with pytest.raises(DataError, match=r"SciFact: mteb/scifact at d56462.* cannot be fetched from the hub: no route$"):
        mirror_from_hub(tmp_path / "m", SCIFACT, download=fails)
