"""Retrieval tasks from a data set: every document, query and judgement, and the splits that the task wants."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from embedkit.core.dataset import Dataset, read_dataset
from embedkit.core.errors import DataError
from embedkit.core.records import Corpus, Queries
from embedkit.evaluation.mirror.from_beir import mirror_from_beir
from tests.evaluation.mirror.facts import SCIFACT, STS

DATA = Dataset(
    Corpus(["d1", "d2"], ["", "Title"], ["one", "two"]),
    Queries(["q1", "q2", "q3"], ["first", "second", "unjudged"]),
    {"train": {"q1": {"d1": 1}}, "dev": {"q1": {"d2": 0, "d1": 2}}, "test": {"q2": {"d2": 3}}},
)


def read(mirror, name):
    return pq.read_table(mirror / "SciFact" / "data" / f"{name}.parquet").to_pylist()


def test_all_that_the_data_set_holds_is_there(tmp_path):
    found = mirror_from_beir(tmp_path, SCIFACT, DATA)
    assert found.revision.startswith("beir-")
    assert len(found.revision) == len("beir-") + 16
    assert read(tmp_path, "corpus/corpus") == [
        {"_id": "d1", "title": "", "text": "one"},
        {"_id": "d2", "title": "Title", "text": "two"},
    ]
    assert [row["_id"] for row in read(tmp_path, "queries/queries")] == ["q1", "q2", "q3"]
    assert read(tmp_path, "default/test") == [{"query-id": "q2", "corpus-id": "d2", "score": 3}]
    assert [row["score"] for row in read(tmp_path, "default/dev")] == [0, 2]
    assert (tmp_path / "SciFact" / "data" / "default" / "train.parquet").is_file()


def test_a_data_set_on_disk_and_in_memory_give_the_same_revision(tiny_dataset, tmp_path):
    dataset = read_dataset(tiny_dataset.path)
    first = mirror_from_beir(tmp_path / "a", SCIFACT, dataset)
    assert mirror_from_beir(tmp_path / "b", SCIFACT, dataset) == first
    other = replace(dataset, qrels={**dataset.qrels, "test": dataset.qrels["dev"]})
    assert mirror_from_beir(tmp_path / "c", SCIFACT, other).revision != first.revision


@pytest.mark.parametrize("official", ["dev", "validation"])
def test_dev_and_validation_are_one_split(tmp_path, official):
    mirror_from_beir(tmp_path, replace(SCIFACT, splits=(official,)), DATA)
    assert [row["score"] for row in read(tmp_path, f"default/{official}")] == [0, 2]


def test_an_official_split_is_made_of_what_it_is_said_to_be(tmp_path):
    mirror_from_beir(tmp_path, SCIFACT, DATA, splits={"test": ("train", "test")})
    assert [row["query-id"] for row in read(tmp_path, "default/test")] == ["q1", "q2"]
    assert not (tmp_path / "SciFact" / "data" / "default" / "train.parquet").exists()


@pytest.mark.parametrize(
    ("facts", "splits", "said"),
    [
        (STS, {}, "STS13: is a task of type STS; a BEIR folder is for Retrieval, and only a copy from the hub serves"),
        (replace(SCIFACT, multilingual=True), {}, "has a subset for each language"),
        (replace(SCIFACT, plain=False), {}, "reads or rearranges its data in a way of its own"),
        (replace(SCIFACT, splits=("standard",)), {}, r"x: SciFact needs a split 'standard'; found \['train', 'dev'"),
        (SCIFACT, {"test": ("tests",)}, "x: split 'test' is to be made of 'tests'; it has"),
    ],
)
def test_what_cannot_be_built_is_one_line(tmp_path, facts, splits, said):
    with pytest.raises(DataError, match=said):
        mirror_from_beir(tmp_path, facts, DATA, splits=splits, place="x")
    assert not (tmp_path / facts.name).exists()
