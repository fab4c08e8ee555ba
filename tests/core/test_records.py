import pytest

from embedkit.core.dataset import read_dataset
from embedkit.core.errors import ArtifactError
from embedkit.core.pairs import Pairs, write_pairs
from embedkit.core.records import Corpus, Queries, link_tables
from embedkit.core.text import document_text

CORPUS = Corpus(["d1", "d2"], ["tïtle", ""], ["text", "two"])
QUERIES = Queries(["q1", "q2"], ["one", "two 你好"])


def test_rows_are_taken_with_their_classes():
    assert Corpus(["a", "b"], ["", ""], ["x", "y"], ["", "c"]).take([1]) == Corpus(["b"], [""], ["y"], ["c"])
    assert QUERIES.take([1, 0]) == Queries(["q2", "q1"], ["two 你好", "one"])


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
