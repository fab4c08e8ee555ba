from embedkit.core.dataset import Dataset, read_dataset, write_dataset
from embedkit.core.pairs import Pair, read_pairs
from embedkit.core.records import Corpus, Queries

CORPUS = Corpus(["d1", "d2"], ["tïtle", ""], ["text", "two"])
QUERIES = Queries(["q1", "q2"], ["one", "two 你好"])


def test_a_dataset_reads_back_and_is_pairs_too(tmp_path):
    dataset = Dataset(CORPUS, QUERIES, {"train": {"q1": {"d2": 1, "d1": 2}}, "test": {"q2": {"d2": 0, "d1": 3}}})
    write_dataset(tmp_path, dataset)
    assert read_dataset(tmp_path) == dataset
    assert read_pairs(tmp_path).rows == [Pair("q1", ("d1", "d2"), known=("d1", "d2"))]
