"""Pushing to the hub: what is sent, and errors of the hub in one line. The hub's client is a fake."""

import inspect
import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi

from embedkit.core.errors import DataError
from embedkit.exports import NTuple, Triplet, export, hub
from embedkit.exports.card import card
from embedkit.retrieval import hub as edge
from tests.exports.cases import write_case

KEY = "a" * 64


@pytest.fixture
def mined(tmp_path) -> Path:
    """Pairs as a mine stage leaves them, with manifest and stats."""
    folder = write_case(tmp_path / "mined")
    spec = {"kind": "mine", "model": "m" * 64, "filters": [{"kind": "percent_of_positive", "ratio": 0.95}]}
    manifest = {"format": 1, "key": KEY, "kind": "mine", "type": "pairs", "spec": spec, "files": {}, "made": {}}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "inputs": {"model": "m" * 64}}))
    stats = {"summary": ["8 negatives"], "warnings": ["few"], "counts": {"queries": 4000}}
    (folder / "stats.json").write_text(json.dumps(stats))
    return folder


class Fake:
    """Stands for the hub's client; remembers what it was given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.made, self.files = error, {}, {}

    def create_repo(self, name, **options):
        inspect.signature(HfApi.create_repo).bind(self, name, **options)
        if self.error:
            raise self.error
        self.made[name] = options
        return f"https://hub.example/datasets/{name}"

    def upload_folder(self, **options):
        inspect.signature(HfApi.upload_folder).bind(self, **options)
        assert (options["repo_id"] in self.made, options["repo_type"]) == (True, "dataset")
        self.files = {p.name: p.read_bytes() for p in Path(options["folder_path"]).iterdir()}
        self.message = options["commit_message"]


@pytest.fixture
def online(monkeypatch) -> Fake:
    fake = Fake()
    monkeypatch.setattr(edge.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(edge, "HfApi", lambda: fake)
    return fake


def front(text: str) -> dict:
    return yaml.safe_load(text.split("---")[1])


def test_files_and_card_are_pushed_and_nothing_else(mined, online, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "private.txt").touch()
    done = export(mined, tmp_path / "out" / "train.parquet", format=NTuple(ids=True))
    url = hub.push("me/some-negatives", mined, done, private=True)
    assert url == "https://hub.example/datasets/me/some-negatives"
    assert online.made == {"me/some-negatives": {"repo_type": "dataset", "private": True, "exist_ok": True}}
    names = {path.name for path in done.files.values()}
    assert set(online.files) == {*names, "README.md"}
    assert all(online.files[path.name] == path.read_bytes() for path in done.files.values())
    assert online.message == "n-tuple, 3 rows"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {*names, "private.txt"}


def test_the_card_tells_configs_and_origin(mined, tmp_path):
    done = export(mined, tmp_path / "train.parquet", format=NTuple(scores="teacher"))
    text = card("me/some-negatives", mined, done)
    header = front(text)
    assert header["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "train.parquet"}]}
    ]
    assert "license" not in header
    for part in (KEY, "m" * 64, "percent_of_positive", "ratio: 0.95", "- 8 negatives", "- warning: few"):
        assert part in text
    assert "- queries: 4,000" in text
    assert "| `negative_3` | string |" in text
    assert "n-tuple, negatives 3, scores teacher" in text
    assert "left out: 1 queries without a negative" in text
    assert str(tmp_path) not in text


def test_the_card_has_a_config_a_table_and_the_licence_it_is_given(pairs, tmp_path):
    done = export(pairs, tmp_path / "t.jsonl", format=Triplet(ids=True))
    text = card("x", pairs, done, license="cc-by-4.0")
    assert front(text)["license"] == "cc-by-4.0"
    assert [c["config_name"] for c in front(text)["configs"]] == ["train", "queries", "documents"]
    assert "Made by" not in text, "tables without a manifest have no origin to tell"


def test_the_hub_reads_the_front_matter(pairs, tmp_path):
    from huggingface_hub import DatasetCard

    done = export(pairs, tmp_path / "t.jsonl", format=Triplet())
    read = DatasetCard(card("x", pairs, done, license="mit"), ignore_metadata_errors=False)
    assert read.data.license == "mit"
    assert "embedkit" in read.data.tags


def test_errors_of_the_hub_are_one_line_and_the_file_stays(pairs, online, tmp_path):
    done = export(pairs, tmp_path / "t.jsonl", format=Triplet())
    online.error = RuntimeError("\n401: who are you?\nmore")
    with pytest.raises(DataError) as caught:
        hub.push("me/x", pairs, done)
    (line,) = caught.value.problems
    assert (
        line == f"me/x: cannot be pushed to the hub: RuntimeError: 401: who are you?; {tmp_path / 't.jsonl'} is whole"
    )
    assert (tmp_path / "t.jsonl").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["t.jsonl"]


def test_offline_is_told_before_anything_is_done(pairs, monkeypatch, tmp_path):
    done = export(pairs, tmp_path / "t.jsonl", format=Triplet())
    monkeypatch.setattr(edge.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(edge, "HfApi", lambda: pytest.fail("the hub was asked"))
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        hub.push("me/x", pairs, done)
