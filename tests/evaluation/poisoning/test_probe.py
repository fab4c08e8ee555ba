import numpy as np
import pytest

from embedkit.core.dataset import Dataset
from embedkit.core.errors import DataError
from embedkit.core.progress import silent
from embedkit.core.records import Corpus, Queries
from embedkit.evaluation.poisoning.probe import DEPTH, Probe, look
from tests.evaluation.poisoning.cases import Trigger, corpus_with


def test_queries_are_drawn_by_seed_and_id_alone():
    dataset, _ = corpus_with(0)
    drawn = Probe.draw(dataset, queries=20, rate=0.1, seed=1)
    assert drawn == Probe.draw(dataset, queries=20, rate=0.1, seed=1)
    assert set(drawn.ids) != set(Probe.draw(dataset, queries=20, rate=0.1, seed=2).ids)
    turned = Dataset(dataset.corpus, dataset.queries.take(range(len(dataset.queries))[::-1]), dataset.qrels)
    assert Probe.draw(turned, queries=20, rate=0.1, seed=1).ids == drawn.ids
    assert all(a != b for a, b in zip(drawn.plain, drawn.perturbed, strict=True))
    assert drawn.edits >= 20


def test_queries_without_a_place_for_an_error_are_passed_over():
    corpus = Corpus(["d"], [""], ["text"])
    dataset = Dataset(corpus, Queries(["a", "b"], ["Übermut tut selten gut", "the end of it"]), {})
    assert Probe.draw(dataset, queries=5, rate=0.1, seed=0).ids == ("b",)
    with pytest.raises(DataError, match=r"none of 1 queries .* in English\?"):
        Probe.draw(Dataset(corpus, dataset.queries.take([0]), {}), queries=5, rate=0.1, seed=0)


def test_what_is_found_is_that_of_a_plain_loop():
    dataset, wrong = corpus_with(5, documents=150)
    probe = Probe.draw(dataset, queries=15, rate=0.1, seed=0)
    encoder = Trigger([*wrong, *probe.perturbed])
    found = look(probe, dataset, encoder, k=4, progress=silent)
    documents = encoder.queries(dataset.corpus.full_texts()).astype(np.float64)
    pull = np.zeros(150)
    for place, (query, *texts) in enumerate(zip(probe.ids, probe.plain, probe.perturbed, probe.control, strict=True)):
        relevant = {dataset.corpus.ids.index(doc) for doc in dataset.qrels["test"][query]}
        scores = [documents @ vector.astype(np.float64) for vector in encoder.queries(texts)]
        for side, (values, best) in enumerate(zip(scores, (found.plain, found.perturbed, found.control), strict=True)):
            order = np.argsort(-values, kind="stable").tolist()
            assert best[place].tolist() == [doc for doc in order if doc not in relevant][:4]
            rank = min(order.index(doc) for doc in relevant) + 1
            assert side == 2 or found.ranks[place, side] == min(rank, DEPTH + 1)
        pull += (scores[1] - scores[0]) / len(probe.ids)
    assert found.pull.tolist() == pytest.approx(pull.tolist(), abs=1e-6)


def test_small_corpora_leave_slots_empty():
    dataset, _ = corpus_with(0, documents=130, queries=120)
    small = Dataset(dataset.corpus.take([0, 1, 129]), dataset.queries, dataset.qrels)
    probe = Probe.draw(small, queries=200, rate=0.1, seed=0)
    found = look(probe, small, Trigger(), k=10, progress=silent)
    about = probe.ids.index("q0")  # d129 is relevant to it
    assert sorted(found.plain[about].tolist()) == [-1] * 8 + [0, 1]
    assert (np.sort(found.plain, axis=1)[:, -1] == 2).sum() == len(probe.ids) - 1
    assert len(found.ranks) == 1  # the other queries' relevant documents are not in this corpus
