import subprocess
import sys

import numpy as np
import pytest

from embedkit.mining.bm25 import BM25Index, words
from tests.oracles import bm25_by_hand
from tests.tiny import WORDS

DOCUMENTS = ["list files files", "move a file", "", "Show the LIST of ports", "stop", "list"]


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.9, 0.4), (2.0, 0.0), (1.5, 1.0), (0.0, 0.5)])
def test_equals_its_formula(k1, b):
    index = BM25Index(DOCUMENTS, k1=k1, b=b)
    corpus = [words(text) for text in DOCUMENTS]
    for query in ("list files", "the list list", "stop nothing", "ports"):
        expected = [bm25_by_hand(words(query), document, corpus, k1, b) for document in corpus]
        np.testing.assert_allclose(index.scores(query), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("query", ["", "...", "unheard words"])
def test_a_query_without_known_words_scores_zero(query):
    assert BM25Index(DOCUMENTS, k1=1.2, b=0.75).scores(query).tolist() == [0.0] * len(DOCUMENTS)


def test_documents_without_words():
    assert BM25Index(["", "?!"], k1=1.2, b=0.75).scores("list").tolist() == [0.0, 0.0]


def test_words_of_scripts_without_spaces_are_characters():
    assert words("Zip-File 圧縮 ＡＢ") == ["zip", "file", "圧", "縮", "ab"]


def test_scores_do_not_depend_on_the_hash_seed():
    code = (
        "from embedkit.mining.bm25 import BM25Index; from tests.tiny import WORDS; import random; "
        "r = random.Random(0); d = [' '.join(r.choices(WORDS, k=9)) for _ in range(50)]; "
        "print(BM25Index(d, k1=1.2, b=0.75).scores(' '.join(WORDS)).tobytes().hex())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) > len(WORDS)
