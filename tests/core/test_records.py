import pyarrow.parquet as pq
import pytest

from embedkit.core.errors import ArtifactError
from embedkit.core.records import (
    Corpus,
    Dataset,
    Pair,
    Pairs,
    Queries,
    link_tables,
    pairs_of,
    read_dataset,
    read_pairs,
    write_dataset,
    write_pairs,
)
from embedkit.core.text import document_text

CORPUS = Corpus(["d1", "d2"], ["tïtle", ""], ["text", "two"])
QUERIES = Queries(["q1", "q2"], ["one", "two 你好"])


def test_a_dataset_reads_back_and_is_pairs_too(tmp_path):
    dataset = Dataset(CORPUS, QUERIES, {"train": {"q1": {"d2": 1, "d1": 2}}, "test": {"q2": {"d2": 0, "d1": 3}}})
    write_dataset(tmp_path, dataset)
    assert read_dataset(tmp_path) == dataset
    assert read_pairs(tmp_path).rows == [Pair("q1", ("d1", "d2"), known=("d1", "d2"))]


def test_pairs_read_back(tmp_path):
    row = Pair("q1", ("d1",), ("d1",), ("d2",), (0.5,), (0.25,), (1.0,), (-1.0,))
    pairs = Pairs(CORPUS, QUERIES, [row, Pair("q2", ("d2",))])
    write_pairs(tmp_path, pairs)
    assert read_pairs(tmp_path) == pairs


def test_classes_and_suspects_read_back_and_are_no_columns_where_nobody_has_one(tmp_path):
    for name in ("plain", "rich"):
        (tmp_path / name).mkdir()
    corpus = Corpus(CORPUS.ids, CORPUS.titles, CORPUS.texts, ["", "animals"])
    queries = Queries(QUERIES.ids, QUERIES.texts, ["animals", ""])
    rich = Pairs(corpus, queries, [Pair("q1", ("d1",), suspects=("d2",)), Pair("q2", ("d2",))])
    write_pairs(tmp_path / "rich", rich)
    assert read_pairs(tmp_path / "rich") == rich
    write_pairs(tmp_path / "plain", Pairs(CORPUS, QUERIES, [Pair("q1", ("d1",))]))
    for file, column in (("corpus", "class"), ("queries", "class"), ("pairs", "suspects")):
        names = [pq.read_schema(tmp_path / folder / f"{file}.parquet").names for folder in ("plain", "rich")]
        assert names[1] == [*names[0], column]


def test_rows_are_taken_with_their_classes():
    assert Corpus(["a", "b"], ["", ""], ["x", "y"], ["", "c"]).take([1]) == Corpus(["b"], [""], ["y"], ["c"])
    assert QUERIES.take([1, 0]) == Queries(["q2", "q1"], ["two 你好", "one"])


def test_the_same_records_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_pairs(tmp_path / name, Pairs(CORPUS, QUERIES, [Pair("q1", ("d1",))]))
    for file in ("corpus.parquet", "queries.parquet", "pairs.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_unjudged_and_irrelevant_documents_are_no_positives():
    assert pairs_of({"q1": {"d1": 0, "d2": -1}}) == []


def test_linked_tables_read_the_same(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write_pairs(tmp_path / "a", Pairs(CORPUS, QUERIES, []))
    link_tables(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "corpus.parquet").read_bytes() == (tmp_path / "a" / "corpus.parquet").read_bytes()


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "corpus.parquet").write_bytes(b"not parquet")
    with pytest.raises(ArtifactError, match=r"corpus\.parquet: cannot be read"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(("title", "text", "whole"), [("a", "b", "a b"), ("", "b", "b"), ("a", "", "a")])
def test_title_and_text_are_joined_as_mteb_does(title, text, whole):
    assert document_text(title, text) == whole
