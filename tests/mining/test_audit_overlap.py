"""Overlap with evaluation sets against all pairs in plain loops."""

import numpy as np
import pytest

from embedkit.core.pairs import Pair, write_pair_rows
from embedkit.core.records import Corpus, Queries, write_corpus, write_queries
from embedkit.core.shingles import jaccard, shingles
from embedkit.core.text import normalised
from embedkit.mining.audit import Held, audit
from embedkit.mining.audit.overlap import Texts

WORDS = [f"w{i}" for i in range(8)]


def some_texts(rng, n: int, bases: list[list[str]]) -> list[str]:
    """Texts made of a few long ones, some words changed: many are near duplicates, some the same but for case."""
    texts = []
    for _ in range(n):
        words = list(bases[rng.integers(len(bases))])
        for place in rng.integers(0, len(words), rng.integers(0, 2)):
            words[place] = str(rng.choice(WORDS))
        texts.append(" ".join(words).upper() if rng.random() < 0.3 else "  ".join(words))
    return [*texts, "", "one", "one two"]


def closest(text: str, others: list[str], near: float) -> tuple[int, float] | None:
    """By trying all."""
    for row, other in enumerate(others):
        if normalised(text) == normalised(other):
            return row, 1.0
    found = [(jaccard(shingles(text), shingles(other)), -row) for row, other in enumerate(others)]
    best, row = max(found)
    return (-row, best) if best >= near - 1e-9 else None


@pytest.mark.parametrize("near", [0.5, 0.8, 0.9])
def test_finds_what_trying_all_finds(near):
    rng = np.random.default_rng(0)
    bases = [[f"b{i}x{j}" for j in range(rng.integers(4, 90))] for i in range(6)]
    held, asked = some_texts(rng, 40, bases), some_texts(rng, 80, bases)
    index, found = Texts([str(i) for i in range(len(held))], held, near=near), 0
    for text in [*asked, f"{held[-1]}!"]:
        expected, twin = closest(text, held, near), index.find(text)
        assert (None if twin is None else (int(twin.id), twin.similarity)) == expected
        assert twin is None or twin.same == (normalised(text) == normalised(held[int(twin.id)]))
        found += expected is not None and expected[1] < 1
    assert found > 3
    assert Texts([], []).find("text") is None


def test_roles_are_counted_apart_and_documents_once(tmp_path):
    long = [
        f"{name} says a lot of things in very many words that nobody else says" for name in ("a", "b", "c", "d", "e")
    ]
    write_corpus(tmp_path, Corpus(["d0", "d1", "d2", "d3", "d4"], [""] * 5, long))
    write_queries(tmp_path, Queries(["q0", "q1", "q2"], ["What IS it", "else", "unused"]))
    rows = [Pair("q0", ("d0",), negatives=("d1", "d2")), Pair("q1", ("d0",), negatives=("d1", "d3"))]
    write_pair_rows(tmp_path, rows)
    held = Held("test", ["h0", "h1"], ["what is it", "unused"], ["x0", "x1"], [long[0], f"{long[1]} so"])
    found = audit(tmp_path, against=[held])["overlap"][0]
    cells = {(row["of"], row["among"]): (row["texts"], row["same"], row["near"]) for row in found["found"]}
    assert cells == {
        ("queries", "queries"): (2, 1, 0),
        ("positives", "queries"): (1, 0, 0),
        ("negatives", "queries"): (3, 0, 0),
        ("queries", "documents"): (2, 0, 0),
        ("positives", "documents"): (1, 1, 0),
        ("negatives", "documents"): (3, 0, 1),
    }
    assert found["sizes"] == {"queries": 2, "documents": 2}
    near = next(row for row in found["found"] if (row["of"], row["among"]) == ("negatives", "documents"))
    assert near["examples"][0]["id"] == "d1"
    assert near["examples"][0]["twin"] == "x1"
    assert near["examples"][0]["similarity"] == pytest.approx(12 / 13)
    warnings = audit(tmp_path, against=[held])["warnings"]
    assert (
        "test: 1 training queries are among its queries and 0 nearly are; scores on it are not to be trusted"
        in warnings
    )
