"""Texts in other words: every text that has a match by the vectors is found, whichever side has more."""

import numpy as np
import pytest

from embedkit.core.pairs import Pair, Pairs, write_pairs
from embedkit.core.records import Corpus, Queries
from embedkit.core.stage import Context
from embedkit.evaluation.contamination import similar
from embedkit.evaluation.contamination.held import Held, HeldTexts
from embedkit.evaluation.contamination.similar import find_similar
from embedkit.evaluation.contamination.training import Training
from embedkit.retrieval.encoder import open_encoder
from tests.tiny import WORDS

LEAST = 0.95


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("similar"), np.random.default_rng(0)

    def texts(n: int) -> list[str]:
        return [" ".join(rng.choice(WORDS, 6)) for _ in range(n)]

    queries, documents = [*texts(25), ""], [*texts(30), " "]
    ids = [f"p{i}" for i in range(26)], [f"t{i}" for i in range(31)]
    rows = [Pair(q, (d,)) for q, d in zip(ids[0], ids[1], strict=False)]
    (folder / "pairs").mkdir()
    write_pairs(folder / "pairs", Pairs(Corpus(ids[1], [""] * 31, documents), Queries(ids[0], queries), rows))
    asked, held = texts(40), texts(10)
    task = Held("t", [f"q{i}" for i in range(41)], [*asked, ""], [f"d{i}" for i in range(10)], held)
    return Training(folder / "pairs", folder / "work"), HeldTexts([task]), (queries, documents[:26]), (asked, held)


@pytest.fixture(scope="module")
def encoder(tiny_model, tmp_path_factory):
    return open_encoder(tiny_model, Context(work=tmp_path_factory.mktemp("w"), embeddings=tmp_path_factory.mktemp("e")))


def expected(case, encoder) -> tuple[set[tuple[str, str]], dict[tuple[str, str], float]]:
    pairs = {}
    for ours, theirs, encode in zip(case[2], case[3], (encoder.queries, encoder.documents), strict=True):
        cosines = encode(ours) @ encode(theirs).T
        pairs |= {
            (a, b): float(cosines[i, j])
            for i, a in enumerate(ours)
            for j, b in enumerate(theirs)
            if a.strip() and cosines[i, j] >= LEAST
        }
    return pairs


@pytest.mark.parametrize("block", [7, 4096])
def test_it_finds_what_comparing_all_finds(case, encoder, block, monkeypatch):
    monkeypatch.setattr(similar, "_BLOCK", block)
    monkeypatch.setattr(similar, "NEAREST", 41)
    training, held, _, _ = case
    found = find_similar(training, held, encoder, LEAST)
    wanted = expected(case, encoder)
    texts = zip(found.numbers.tolist(), held.texts(found.units), found.values.tolist(), strict=True)
    assert {(training.text(n), twin): pytest.approx(v, abs=1e-5) for n, twin, v in texts} == wanted
    assert len(wanted) > 20


def test_with_few_neighbours_every_text_that_has_a_match_has_one_still(case, encoder, monkeypatch):
    training, held, _, _ = case
    wanted = expected(case, encoder)
    monkeypatch.setattr(similar, "NEAREST", 1)
    found = find_similar(training, held, encoder, LEAST)
    assert {training.text(n) for n in found.numbers.tolist()} == {a for a, _ in wanted}
    assert set(held.texts(found.units)) == {b for _, b in wanted}
    assert len(found) < len(wanted)
