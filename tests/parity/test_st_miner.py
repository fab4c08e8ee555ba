"""The same negatives as sentence-transformers' `mine_hard_negatives`, on the same vectors with the same settings.

Two things are told apart. Its window of `range_max` candidates is a little wider for queries with fewer positives among
them than the query with most; here every query has `top_k`, so what it finds beyond that is left out of the comparison.
And with a margin its `range_min` skips the best of those that pass; `rank_window` counts candidates.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers.util import cos_sim, mine_hard_negatives, pairwise_cos_sim

from embedkit.core.pairs import Pair
from embedkit.mining.candidates import retrieve
from embedkit.mining.filters import MarginToPositive, PercentOfPositive, RankWindow, ScoreRange
from embedkit.mining.ground import Block, Ground
from embedkit.mining.known import Judgements
from embedkit.mining.miner import choose_negatives
from embedkit.mining.pool import Pool
from embedkit.mining.signals import Signals
from embedkit.retrieval.index import Exact

QUERIES, DOCUMENTS, DIM, WANTED = 80, 400, 24, 6
TIE = 2.5e-7
SETTINGS = [
    {"range_max": WANTED},
    {"range_max": 30},
    {"range_min": 5, "range_max": 30},
    {"range_max": 100, "absolute_margin": 0.1},
    {"range_max": 40, "relative_margin": 0.05},
    {"range_max": 400, "relative_margin": 0.5},
    {"range_max": 60, "max_score": 0.45},
    {"range_max": 60, "min_score": 0.35},
    {"range_max": 80, "absolute_margin": 0.05, "relative_margin": 0.2, "max_score": 0.4, "min_score": 0.1},
]


class Vectors:
    """A model whose embeddings of "q3" and "d7" are rows of tables."""

    device, model_card_data = torch.device("cpu"), SimpleNamespace(base_model="")
    similarity, similarity_pairwise = staticmethod(cos_sim), staticmethod(pairwise_cos_sim)

    def __init__(self, queries, documents):
        self.queries, self.documents = queries, documents

    def encode_query(self, texts, **_):
        return self.queries[[int(text[1:]) for text in texts]]

    def encode_document(self, texts, **_):
        return self.documents[[int(text[1:]) for text in texts]]

    def get_embedding_dimension(self):
        return DIM


def unit(rng, rows):
    made = rng.normal(size=(rows, DIM))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module", params=[1, 4], ids=["one positive", "up to four positives"])
def case(request):
    """Positives are near their queries, or anywhere: some have a negative score."""
    rng = np.random.default_rng(request.param)
    queries, documents, relevant = unit(rng, QUERIES), unit(rng, DOCUMENTS), []
    for query in range(QUERIES):
        near = np.argsort(-documents @ queries[query])[: 12 if query % 4 else DOCUMENTS]
        relevant.append(rng.choice(near, int(rng.integers(1, request.param + 1)), replace=False))
    return queries, documents, relevant


def theirs(case, settings, *, use_faiss):
    queries, documents, relevant = case
    rows = [(f"q{q}", f"d{d}") for q, some in enumerate(relevant) for d in some]
    found = mine_hard_negatives(
        Dataset.from_dict({"query": [q for q, _ in rows], "document": [d for _, d in rows]}),
        Vectors(queries, documents),
        corpus=[f"d{i}" for i in range(DOCUMENTS)],
        num_negatives=WANTED,
        output_format="triplet",
        output_scores=True,
        use_faiss=use_faiss,
        verbose=False,
        **settings,
    )
    lists: dict[int, dict[int, float]] = {query: {} for query in range(QUERIES)}
    for row in found:
        lists[int(row["query"][1:])][int(row["negative"][1:])] = row["scores"][1]
    return lists


def ours(case, settings):
    queries, documents, relevant = case
    texts = [f"d{i}" for i in range(DOCUMENTS)]
    asked = [f"q{i}" for i in range(QUERIES)]
    pairs = [Pair(name, tuple(f"d{d}" for d in some)) for name, some in zip(asked, relevant, strict=True)]
    ground = Ground(pairs, asked, None, texts, queries, documents, Judgements(asked, texts, relevant))
    block, pool = Block(ground, range(QUERIES)), Pool(Exact().open(documents), None)
    made = retrieve(block, pool, Signals({}, {}), top_k=settings["range_max"])
    filters = [RankWindow(first=1 + settings.get("range_min", 0), last=settings["range_max"])]
    if "absolute_margin" in settings:
        filters.append(MarginToPositive(margin=settings["absolute_margin"]))
    if "relative_margin" in settings:
        filters.append(PercentOfPositive(ratio=1 - settings["relative_margin"]))
    filters.append(ScoreRange(minimum=settings.get("min_score"), maximum=settings.get("max_score")))
    choice = choose_negatives(made, filters, count=WANTED)
    return made, [
        {int(made.rows[q, c]): float(made.scores["encoder"][q, c]) for c in columns if c >= 0}
        for q, columns in enumerate(choice.columns)
    ]


@pytest.mark.parametrize("use_faiss", [False, True], ids=["torch", "faiss"])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(f"{k}={v}" for k, v in s.items()))
def test_the_same_negatives_in_the_same_order(case, settings, use_faiss):
    if use_faiss:
        pytest.importorskip("faiss")
    expected = theirs(case, settings, use_faiss=use_faiss)
    made, found = ours(case, settings)
    compared = equal = 0
    for query, own in enumerate(found):
        window = set(made.rows[query][made.ranks[query] > 0].tolist())
        known = set(case[2][query].tolist())
        wanted = {doc: score for doc, score in expected[query].items() if doc in window}
        assert len(own) == len(wanted)
        for a, b in zip(own, wanted, strict=True):  # float32 products round as they like: near ties may change places
            assert a == b or abs(own[a] - wanted[b]) < TIE
            equal += a == b
        assert not known & set(own)
        np.testing.assert_allclose(list(own.values()), list(wanted.values()), atol=TIE)
        compared += len(own)
        assert len(expected[query]) - len(wanted) <= max(map(len, case[2]))
    assert compared > QUERIES  # the settings leave something to compare
    assert equal >= 0.99 * compared
