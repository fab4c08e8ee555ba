import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embedkit.mining.bm25 import BM25Index
from embedkit.mining.postings import words
from tests.oracles import bm25_by_hand
from tests.tiny import WORDS

DOCUMENTS = ["list files files", "move a file", "", "Show the LIST of ports", "stop", "list"]


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.9, 0.4), (2.0, 0.0), (1.5, 1.0), (0.0, 0.5)])
def test_equals_its_formula(k1, b, tmp_path):
    index = BM25Index.open(DOCUMENTS, tmp_path / "index", k1=k1, b=b)
    corpus = [words(text) for text in DOCUMENTS]
    for query in ("list files", "the list list", "stop nothing", "ports"):
        expected = [bm25_by_hand(words(query), document, corpus, k1, b) for document in corpus]
        np.testing.assert_allclose(index.scores(query), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("query", ["", "...", "unheard words"])
def test_a_query_without_known_words_scores_zero(query, tmp_path):
    index = BM25Index.open(DOCUMENTS, tmp_path / "index", k1=1.2, b=0.75)
    assert index.scores(query).tolist() == [0.0] * len(DOCUMENTS)


def test_scores_of_some_documents_are_those_of_all(tmp_path):
    documents = corpus(3)
    index, rng = BM25Index.open(documents, tmp_path / "index", k1=1.2, b=0.75), random.Random(4)
    for _ in range(20):
        query = " ".join(rng.choices([*WORDS, "unheard"], k=7))
        rows = np.array(rng.sample(range(len(documents)), k=40))
        assert index.scores_of(query, rows).tobytes() == index.scores(query)[rows].tobytes()
    assert index.scores_of("", np.array([1])).tolist() == [0.0]
    assert index.scores_of("list", np.array([], dtype=np.int64)).tolist() == []


def test_documents_without_words(tmp_path):
    assert BM25Index.open(["", "?!"], tmp_path / "index", k1=1.2, b=0.75).scores("list").tolist() == [0.0, 0.0]


def test_words_of_scripts_without_spaces_are_characters():
    assert words("Zip-File 圧縮 ＡＢ") == ["zip", "file", "圧", "縮", "ab"]


def test_scores_do_not_depend_on_the_hash_seed():
    code = (
        "from embedkit.mining.bm25 import BM25Index; from tests.tiny import WORDS; import random; "
        "r = random.Random(0); d = [' '.join(r.choices(WORDS, k=9)) for _ in range(50)]; "
        "from pathlib import Path; import tempfile; folder = Path(tempfile.mkdtemp()) / 'index'; "
        "print(BM25Index.open(d, folder, k1=1.2, b=0.75).scores(' '.join(WORDS)).tobytes().hex())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) > len(WORDS)


def corpus(seed: int, size: int = 300) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(0, 12))) for _ in range(size)]


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.0, 0.5), (2.0, 1.0)])
def test_equals_bm25s(k1, b, tmp_path, monkeypatch):
    """Built in pieces and read from disk, it scores as bm25s' own index in memory does."""
    import bm25s

    monkeypatch.setattr("embedkit.mining.postings._AT_A_TIME", 7)
    monkeypatch.setattr("embedkit.mining.postings._COUNTS", 50)
    documents = corpus(0)
    index = BM25Index.open(documents, tmp_path / "index", k1=k1, b=b)
    peer = bm25s.BM25(k1=k1, b=b, method="lucene")
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(w for d in documents for w in words(d)))}
    peer.index(([[vocabulary[w] for w in words(d)] for d in documents], vocabulary), show_progress=False)
    for query in corpus(1, 20):
        expected = peer.get_scores(words(query)) if words(query) else np.zeros(len(documents))
        np.testing.assert_allclose(index.scores(query), expected, rtol=1e-5)


@pytest.mark.parametrize("top_k", [1, 5, 300])
def test_search_gives_the_best_documents_and_equal_ones_by_row(top_k, tmp_path):
    documents = corpus(2, 100) * 3  # every score three times
    index = BM25Index.open(documents, tmp_path / "index", k1=1.2, b=0.75)
    for query in (*corpus(3, 10), "unheard"):
        all_scores = index.scores(query)
        expected = [row for row in sorted(range(300), key=lambda row: (-all_scores[row], row)) if all_scores[row]]
        rows, scores = index.search(query, top_k)
        assert rows.tolist() == (expected + [-1] * top_k)[:top_k]
        assert scores.tolist() == ([float(all_scores[row]) for row in expected] + [0.0] * top_k)[:top_k]


def build(folder: Path, documents: list[str], **options) -> tuple[BM25Index, int]:
    """The index, and how many documents were read to make it."""
    read = []
    return BM25Index.open(documents, folder, advance=read.append, **{"k1": 1.2, "b": 0.75, **options}), sum(read)


def test_an_index_is_made_once(tmp_path):
    (one, first), (two, second) = build(tmp_path / "index", corpus(4)), build(tmp_path / "index", corpus(4))
    assert (first, second) == (300, 0)
    assert one.scores("list file").tolist() == two.scores("list file").tolist()


@pytest.mark.parametrize("change", ["texts", "k1", "cut data", "altered data", "altered words", "no seal"])
def test_an_index_of_other_documents_or_damaged_is_made_anew(change, tmp_path):
    folder, documents, options = tmp_path / "index", corpus(5), {}
    build(folder, documents)
    (kept,) = folder.iterdir()
    data = kept / "data.csc.index.npy"
    if change == "texts":
        documents[7] += " list"
    elif change == "k1":
        options = {"k1": 0.9}
    elif change == "cut data":
        data.write_bytes(data.read_bytes()[:-8])
    elif change == "altered data":
        data.write_bytes(data.read_bytes()[:-1] + b"!")
    elif change == "altered words":
        (kept / "words.npy").write_bytes(data.read_bytes())
    else:
        (kept / "contents.json").unlink()
    index, read = build(folder, documents, **options)
    assert read == 300
    fresh, _ = build(tmp_path / "fresh", documents, **options)
    assert index.scores("list file").tolist() == fresh.scores("list file").tolist()
