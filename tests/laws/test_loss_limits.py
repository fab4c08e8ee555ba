"""Laws of losses that put a positive against the softmax of negatives: at extreme temperatures, and of a text twice."""

import math
from dataclasses import replace

import pytest
import torch

from embedkit.losses import (
    DCL,
    UNPG,
    Batch,
    DecoupledSoftmax,
    Guide,
    Guided,
    InfoNCE,
    Loss,
    Ragged,
    SoftLabelInfoNCE,
    SoftTopK,
)
from tests.losses.batches import KNOWN, POSITIVES, SUSPECTS, ragged_batch
from tests.losses.batches import NEGATIVES as OWN_NEGATIVES

DIRECTIONS = ("query_to_document", "query_to_query", "document_to_query", "document_to_document")
RELEVANT = KNOWN | SUSPECTS | {(i, p) for i, row in enumerate(POSITIVES) for p in row}
NEGATIVES = [[j for j in range(8) if (i, j) not in RELEVANT] for i in range(4)]
PLAIN: list[type[Loss]] = [InfoNCE, DecoupledSoftmax]
OF_EACH_QUERY: list[Loss] = [
    InfoNCE(directions=DIRECTIONS),
    InfoNCE(directions=DIRECTIONS, focal=0.5, hardness=2.0, mask_classes=True, other_positives="negatives"),
    DecoupledSoftmax(reduction="sum"),
    DCL(directions=DIRECTIONS),
    SoftTopK(k="positives"),
    SoftLabelInfoNCE(in_batch_targets=True, in_batch_negatives=True),
    Guided(loss=InfoNCE(directions=DIRECTIONS)),
]


@pytest.mark.parametrize("tile", [None, 3])
@pytest.mark.parametrize("loss", PLAIN)
def test_a_high_temperature_counts_the_negatives(loss, tile):
    expected = mean(lambda i, _: math.log(1 + len(NEGATIVES[i])))
    assert loss(temperature=1e8)(ragged_batch(tile=tile)).item() == pytest.approx(expected, rel=1e-6)


def test_a_high_temperature_counts_what_a_loss_compares_with():
    batch = ragged_batch()
    expected = mean(lambda i, _: math.log(len(NEGATIVES[i])))
    assert DCL(temperature=1e8)(batch).item() == pytest.approx(expected, rel=1e-6)
    expected = math.log(1 + sum(map(len, NEGATIVES)))
    assert UNPG(temperature=1e8, whiskers=None)(batch).item() == pytest.approx(expected, rel=1e-6)
    expected = mean(lambda i, _: math.log(len(NEGATIVES[i]) + len(POSITIVES[i])))
    assert SoftTopK(temperature=1e8, k=1)(batch).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("tile", [None, 3])
@pytest.mark.parametrize("loss", PLAIN)
def test_a_low_temperature_leaves_the_hinge_of_the_hardest_negative(loss, tile):
    batch = ragged_batch(tile=tile)
    scores = batch.queries @ batch.documents.T
    expected = mean(lambda i, p: max(0.0, float(scores[i, NEGATIVES[i]].max() - scores[i, p])))
    assert 1e-4 * loss(temperature=1e-4)(batch).item() == pytest.approx(expected, rel=1e-3)


def test_a_low_temperature_leaves_what_a_loss_compares_with():
    batch = ragged_batch()
    scores = batch.queries @ batch.documents.T
    expected = mean(lambda i, p: float(scores[i, NEGATIVES[i]].max() - scores[i, p]))
    assert 1e-4 * DCL(temperature=1e-4)(batch).item() == pytest.approx(expected, rel=1e-3)
    hardest = max(float(scores[i, columns].max()) for i, columns in enumerate(NEGATIVES))
    expected = mean(lambda i, p: max(0.0, hardest - float(scores[i, p])))
    assert 1e-4 * UNPG(temperature=1e-4, whiskers=None)(batch).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("loss", OF_EACH_QUERY, ids=str)
def test_a_query_is_not_compared_with_another_of_its_text(loss, row):
    """Even where the other says nothing of the first one's documents."""
    batch = ragged_batch()
    twice = with_a_second(batch, row)
    assert not set(twice.excluded.values[twice.excluded.rows == 4].tolist()) & set(POSITIVES[row])
    first = range(row, row + 1)
    torch.testing.assert_close(loss(twice.changed(local=first)), loss(batch.changed(local=first)))


def mean(of_pair) -> float:
    """The mean of (query, positive) pairs over each query's, then over queries."""
    return sum(sum(of_pair(i, p) for p in row) / len(row) for i, row in enumerate(POSITIVES)) / len(POSITIVES)


def with_a_second(batch: Batch, row: int) -> Batch:
    """The batch with the text of one of its 4 queries once more, as the last one, with another positive."""
    rows = torch.tensor([0, 1, 2, 3, row])

    def with_one(lists: Ragged, value: float) -> Ragged:
        parts = [part.tolist() for part in lists.values.split(lists.lengths.tolist())]
        return Ragged.of([*parts, [value]], dtype=lists.values.dtype)

    return replace(
        batch,
        queries=batch.queries[rows],
        query_ids=batch.query_ids[rows],
        positives=with_one(batch.positives, 7),
        negatives=Ragged.of([*OWN_NEGATIVES, []]),
        targets=with_one(batch.targets, 0.5),
        query_classes=batch.query_classes[rows],
        guide=Guide(batch.guide.queries[rows], batch.guide.documents),
        local=None,
    )
