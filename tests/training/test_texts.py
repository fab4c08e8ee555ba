from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from pydantic import ValidationError

from embedkit.losses import STAR, Guided, LambdaLoss, MarginMSE
from embedkit.training.samplers import Draw
from embedkit.training.sources import Source
from embedkit.training.stage import Train
from embedkit.training.texts import Picks, TextBatch, text_batch
from tests.training.examples import examples

# (query, positives, negatives) of 20 documents; 7 is known to query 0, 9 may be relevant to it
EXAMPLES = replace(
    examples([(0, [0], [5, 6]), (1, [1, 2], [8]), (2, [3], [])], extra=[(0, 7), (2, 19)]), suspects={0: frozenset({9})}
)
OWN = [[5], [8], []]  # the first negative of each
RELEVANT = [{0, 7, 9}, {1, 2}, {3, 19}]


def lists(batch: TextBatch) -> list[list[int]]:
    """The negatives of every query, as numbers of documents."""
    part = batch.structure
    found = part["doc_ids"][part["negative_columns"]].tolist()
    ends = part["negative_offsets"].tolist()
    return [found[start:end] for start, end in pairwise(ends)]


def drawn(turn: int, *, seed: int = 0, random_negatives: int = 4, negatives: int | None = 1) -> list[list[int]]:
    picks = Picks(None, negatives, random_negatives=random_negatives)
    return lists(text_batch(EXAMPLES, [Draw(row, turn) for row in range(3)], picks, seed=seed))


def test_random_negatives_follow_a_query_s_own_and_are_never_relevant():
    counts = [Counter() for _ in range(3)]
    for turn in range(300):
        for row, found in enumerate(drawn(turn)):
            own = OWN[row]
            assert found[: len(own)] == own
            assert len(found) == len(set(found)) == len(own) + 4
            counts[row].update(found[len(own) :])
    for row, count in enumerate(counts):
        possible = set(range(20)) - RELEVANT[row] - set(OWN[row])
        assert count.keys() == possible
        expected = 300 * 4 / len(possible)
        assert all(0.6 * expected < n < 1.4 * expected for n in count.values())


def test_they_are_drawn_by_the_seed_the_row_and_the_turn():
    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    assert drawn(3) != drawn(3, seed=1)


def test_all_there_are_where_there_are_no_more():
    found = drawn(0, random_negatives=100, negatives=None)
    assert [sorted(row) for row in found] == [sorted(set(range(20)) - relevant) for relevant in RELEVANT]


def test_none_are_drawn_unless_asked_for():
    assert drawn(0, random_negatives=0) == OWN


def test_losses_that_need_more_of_negatives_than_texts_are_refused():
    stage = {"model": "m", "pairs": "p", "random_negatives": 2}
    with pytest.raises(ValidationError, match="loss margin_mse needs target scores of negatives"):
        Train(**stage, loss=MarginMSE())
    with pytest.raises(ValidationError, match="loss guided needs vectors of the guide of negatives"):
        Train(**stage, loss=Guided(loss=STAR()), guide="g")
    with pytest.raises(ValidationError, match="loss margin_mse needs target scores"):
        Source(pairs="p", loss=MarginMSE(), random_negatives=1)


def test_they_serve_a_loss_of_own_lists_where_rows_have_no_negatives():
    train = Train(model="m", pairs="p", negatives=0, random_negatives=2, loss=LambdaLoss())
    assert "negatives" in train.loss.needs
    assert not train.all_sources[0].row_needs
