"""Signals of likeness against plain loops, on vectors of any length."""

from types import SimpleNamespace

import numpy as np
import pytest

from embedkit.core.shingles import jaccard, shingles
from embedkit.mining.filters import NONE
from embedkit.mining.ground import Block, Ground
from embedkit.mining.known import Judgements
from embedkit.mining.likeness import (
    cosines,
    owner_similarity,
    positive_overlap,
    positive_similarity,
    same_group,
)

QUERIES, DOCUMENTS, WIDTH = 14, 30, 9
WORDS = "list all files in a folder by size and show hidden ones".split()


def ground() -> Ground:
    """Several positives a query, equal texts among documents and among queries, a vector of zeros."""
    rng = np.random.default_rng(3)
    documents = [" ".join(rng.choice(WORDS, 6)) for _ in range(DOCUMENTS)]
    documents[7], documents[9] = documents[3].upper(), "?!"
    texts = [f"query {min(i, QUERIES - 2)}" for i in range(QUERIES)]
    relevant = [rng.permutation(DOCUMENTS // 2)[: rng.integers(1, 4)] for _ in texts]
    vectors = (rng.normal(size=(DOCUMENTS, 8)) * rng.uniform(0.5, 3, (DOCUMENTS, 1))).astype(np.float32)
    vectors[20] = 0
    queries = rng.normal(size=(QUERIES, 8)).astype(np.float32)
    queries[-1] = queries[-2]
    pairs = [SimpleNamespace(query_id=f"q{i}") for i in range(QUERIES)]
    return Ground(pairs, texts, None, documents, queries, vectors, Judgements(texts, documents, relevant))


def candidates(block: Block) -> np.ndarray:
    rows = np.array([np.random.default_rng(q).permutation(DOCUMENTS)[:WIDTH] for q in block.queries])
    rows[0, 5:] = NONE
    return rows


def cosine(a, b) -> float:
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a.astype(float) @ b.astype(float) / lengths) if lengths else 0.0


def positives_of(made: Ground, query: int) -> set[int]:
    return {int(r) for q in range(QUERIES) if made.texts[q] == made.texts[query] for r in made.relevant[q]}


def by_hand(made: Ground, compare):
    def score(query: int, document: int) -> float:
        values = [compare(document, p) for p in positives_of(made, query) if p != document]
        return max(values, default=np.nan)

    return score


def overlap(made: Ground):
    return lambda a, b: jaccard(shingles(made.documents[a]), shingles(made.documents[b]))


def owned(made: Ground):
    def score(query: int, document: int) -> float:
        alike = {d for d in range(DOCUMENTS) if made.documents[d].lower() == made.documents[document].lower()}
        owners = [q for q in range(QUERIES) if q != query and alike & {int(r) for r in made.relevant[q]}]
        return max((cosine(made.queries[query], made.queries[o]) for o in owners), default=np.nan)

    return score


GROUPS = np.where(np.arange(DOCUMENTS) % 5 == 0, NONE, np.arange(DOCUMENTS) % 7)


def grouped(a: int, b: int) -> float:
    return float("nan") if GROUPS[a] == NONE else float(GROUPS[a] == GROUPS[b])


CASES = {
    "positive_similarity": (positive_similarity, lambda g: by_hand(g, lambda a, b: cosine(g.vectors[a], g.vectors[b]))),
    "positive_overlap": (positive_overlap, lambda g: by_hand(g, overlap(g))),
    "owner_similarity": (owner_similarity, owned),
    "same_group": (lambda _: same_group(GROUPS), lambda g: by_hand(g, grouped)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_signal_is_its_loop(name):
    made = ground()
    make, oracle = CASES[name]
    signal, score = make(made), oracle(made)
    block = Block(made, range(QUERIES))
    rows = candidates(block)
    found, own = signal(block, rows)
    expected = [[np.nan if row == NONE else score(q, int(row)) for row in some] for q, some in enumerate(rows)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.isfinite(found).any()
    assert np.nanstd(found) > 0
    for q, values in enumerate(own):
        np.testing.assert_allclose(values, [score(q, int(row)) for row in made.relevant[q]], atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_a_block_alone_gives_the_same_bits(name):
    made = ground()
    signal = CASES[name][0](made)
    rows = candidates(Block(made, range(QUERIES)))
    found, own = signal(Block(made, range(QUERIES)), rows)
    for part in (range(3), range(3, 4), range(4, QUERIES)):
        wide = np.pad(rows[part.start : part.stop], ((0, 0), (0, 3)), constant_values=NONE)
        some, lists = signal(Block(made, part), wide)
        np.testing.assert_array_equal(some[:, :WIDTH], found[part.start : part.stop])
        for a, b in zip(lists, own[part.start : part.stop], strict=True):
            np.testing.assert_array_equal(a, b)


class Watched:
    """Vectors, and how many rows were taken at once."""

    def __init__(self, vectors):
        self.vectors, self.shape, self.most = vectors, vectors.shape, 0

    def __getitem__(self, rows):
        found = self.vectors[rows]
        self.most = max(self.most, len(found))
        return found


@pytest.mark.parametrize("fewer", ["left", "right"])
def test_of_two_sides_the_one_of_fewer_vectors_is_held(fewer, monkeypatch):
    one_by_one = lambda count, *_, **__: [slice(i, i + 1) for i in range(count)]  # noqa: E731
    monkeypatch.setattr("embedkit.retrieval.nearest.parts", one_by_one)
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    few, many = np.arange(40) % 3, np.arange(40)
    left, right = (few, many) if fewer == "left" else (many, few)
    watched = Watched(vectors)
    found = cosines(watched)(left, right)
    np.testing.assert_allclose(found, (vectors[left] * vectors[right]).sum(1), atol=1e-5)
    np.testing.assert_array_equal(found, cosines(vectors)(right, left))
    assert watched.most == 3


def test_the_only_positive_has_no_other_to_be_near_to():
    made = ground()
    lone = [q for q in range(QUERIES) if len(positives_of(made, q)) == 1]
    assert lone
    found = positive_similarity(made)(Block(made, range(QUERIES)), candidates(Block(made, range(QUERIES))))[1]
    assert all(np.isnan(found[q]).all() for q in lone)
