"""Memory of `contamination` grows neither with training texts nor, beyond a block, with evaluation texts."""

import random
import tracemalloc

import pytest

from embedkit.core.pairs import Pair, Pairs, write_pairs
from embedkit.core.records import Corpus, Queries
from embedkit.evaluation.contamination.finder import Rules, find_matches
from embedkit.evaluation.contamination.held import Held, HeldTexts
from embedkit.evaluation.contamination.training import Training

WORDS = [f"w{i}" for i in range(3000)]
MB = 2**20


def texts(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=60)) for _ in range(n)]


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    def make(n: int) -> Training:
        folder = tmp_path_factory.mktemp(f"pairs{n}")
        ids = [f"d{i}" for i in range(n)]
        write_pairs(folder, Pairs(Corpus(ids, [""] * n, texts(n, 0)), Queries(["q"], ["x"]), [Pair("q", tuple(ids))]))
        return Training(folder, folder / "work")

    return {n: make(n) for n in (4_000, 16_000)}


def peak(training: Training, held: HeldTexts, block: int) -> float:
    """Megabytes that finding takes at most."""
    tracemalloc.start()
    find_matches(training, held, Rules(near_by="exact"), block=block)
    found = tracemalloc.get_traced_memory()[1] / MB
    tracemalloc.stop()
    return found


def test_training_texts_are_streamed(training):
    held = HeldTexts([Held("t", ["q"], ["y"], [str(i) for i in range(1000)], texts(1000, 1))])
    few, many = (peak(training[n], held, 1 << 23) for n in (4_000, 16_000))
    assert many < few + 2


@pytest.mark.slow
def test_evaluation_texts_are_indexed_in_blocks(training):
    held = HeldTexts([Held("t", ["q"], ["y"], [str(i) for i in range(8000)], texts(8000, 1))])
    block, whole = (peak(training[4_000], held, size) for size in (100_000, 1 << 23))
    assert block < whole - 10
