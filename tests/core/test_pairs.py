import pyarrow.parquet as pq

from embedkit.core.pairs import Pair, Pairs, pairs_of, read_pairs, write_pairs
from embedkit.core.records import Corpus, Queries

CORPUS = Corpus(["d1", "d2"], ["tïtle", ""], ["text", "two"])
QUERIES = Queries(["q1", "q2"], ["one", "two 你好"])


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


def test_the_same_records_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_pairs(tmp_path / name, Pairs(CORPUS, QUERIES, [Pair("q1", ("d1",))]))
    for file in ("corpus.parquet", "queries.parquet", "pairs.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_unjudged_and_irrelevant_documents_are_no_positives():
    assert pairs_of({"q1": {"d1": 0, "d2": -1}}) == []
