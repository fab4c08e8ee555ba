from sentence_transformers import SentenceTransformer

from embedkit.core.dataset import read_dataset
from embedkit.core.pairs import read_pairs


def test_the_tiny_model_tells_texts_apart(tiny_model, other_tiny_model):
    a, b = SentenceTransformer(str(tiny_model)).encode(["list file", "stop host"])
    c = SentenceTransformer(str(other_tiny_model)).encode(["list file"])[0]
    assert a.shape == (32,)
    assert abs(a - b).max() > 0.01
    assert abs(a - c).max() > 0.01


def test_the_tiny_dataset_reads_back(tiny_dataset):
    dataset = read_dataset(tiny_dataset.path)
    assert len(dataset.corpus) == 60
    assert {split: len(qrels) for split, qrels in dataset.qrels.items()} == {"train": 72, "dev": 24, "test": 24}
    assert len(read_pairs(tiny_dataset.path).rows) == 72
