import threading

import pytest
from sentence_transformers import SentenceTransformer

from embedkit.retrieval.ahead import one_ahead, tokenised_ahead
from embedkit.retrieval.identity import VectorIdentity
from embedkit.retrieval.tokens import tokenise
from tests.tiny import WORDS

IDENTITY = VectorIdentity("m" * 64, "document", "show ", None, "float32", "torch", None, True)
SHARDS = [[" ".join(WORDS[i : i + n]) for i in range(n)] for n in range(1, 9)]


@pytest.mark.parametrize("workers", [None, 0, 1, 2])
def test_tokens_are_the_same_and_in_order_whoever_makes_them(tiny_model, workers):
    model = SentenceTransformer(str(tiny_model), device="cpu")
    found = list(tokenised_ahead(model, iter(SHARDS), IDENTITY, workers=workers))
    for tokens, texts in zip(found, SHARDS, strict=True):
        expected = tokenise(model, texts, IDENTITY)
        assert tokens.counts.tolist() == expected.counts.tolist()
        assert tokens.extras == expected.extras
        for name, column in expected.columns.items():
            assert tokens.columns[name].tolist() == column.tolist()


def test_one_is_made_ahead_and_no_more():
    made, second = [], threading.Event()

    def items():
        for number in range(5):
            made.append(number)
            if number == 1:
                second.set()
            yield number

    found = one_ahead(items())
    assert next(found) == 0
    assert second.wait(10)
    assert made == [0, 1]
    assert list(found) == [1, 2, 3, 4]


def test_what_fails_ahead_is_told_in_its_turn():
    def items():
        yield 0
        raise ValueError("the second")

    found = one_ahead(items())
    assert next(found) == 0
    with pytest.raises(ValueError, match="the second"):
        next(found)
