"""Wrappers around wrappers, each layer by its oracle."""

import pytest
import torch

from embedkit.losses import Batch, Guided, InfoNCE, Loss, Matryoshka, Mixing, MoCHi, Progressive, SoftLabelInfoNCE
from tests.losses.test_mixing import NEGATIVES, OUT, POSITIVES, deep_batch, mixed
from tests.oracles.infonce import dot, infonce_by_hand
from tests.oracles.soft_label import divergence_by_hand, targets_by_hand
from tests.oracles.wrappers import (
    Mixed,
    cut_by_hand,
    guided_by_hand,
    progressive_by_hand,
    weighted_infonce_by_hand,
)

DIRECTIONS = ("query_to_document", "query_to_query", "document_to_query", "document_to_document")
FOUR = InfoNCE(temperature=0.2, directions=DIRECTIONS)
MIXING = Mixing(pairwise=3, loss=FOUR)
SOFT = SoftLabelInfoNCE(hard=FOUR, alpha=0.4, temperature=0.2, teacher_temperature=0.3)


def product(*weights):
    """The product of several weights of negatives."""

    def weight(*where):
        result = 1.0
        for one in weights:
            result *= one(*where)
        return result

    return weight


def cut(batch: Batch, dims: int) -> tuple[list, list]:
    return tuple(cut_by_hand(part.tolist(), dims) for part in (batch.queries, batch.documents))


def soft_by_hand(queries, by_hand: Mixed) -> float:
    """`SOFT` of the batch as the oracle mixed it."""
    parts = (queries, by_hand.documents, POSITIVES, by_hand.negatives, by_hand.out)
    soft = 0.0
    for query, p, n, targets in zip(queries, POSITIVES, by_hand.negatives, by_hand.targets, strict=True):
        student = targets_by_hand([dot(query, by_hand.documents[j]) for j in p + n], "softmax", 0.2, "none")
        soft += divergence_by_hand(targets_by_hand(targets, "softmax", 0.3, "none"), student, "cross_entropy")
    return 0.6 * infonce_by_hand(*parts, 0.2, DIRECTIONS) + 0.4 * soft / len(queries)


def matryoshka_of_guided(batch: Batch) -> float:
    weight = guided_by_hand(*(part.tolist() for part in batch.guide), POSITIVES, 0.1, relative=False)
    return sum(
        c * weighted_infonce_by_hand(*cut(batch, d), POSITIVES, NEGATIVES, OUT, 0.2, DIRECTIONS, weight)
        for d, c in ((6, 1.0), (3, 0.5))
    )


def matryoshka_of_mixing(batch: Batch) -> float:
    total = 0.0
    for d in (6, 4):
        queries, documents = cut(batch, d)
        total += soft_by_hand(queries, mixed(batch, MIXING, queries, documents))
    return total


def guided_mixing(batch: Batch) -> float:
    by_hand = mixed(batch, MIXING)
    weight = guided_by_hand(batch.guide.queries.tolist(), by_hand.guide, POSITIVES, 0.0, relative=False)
    parts = (batch.queries.tolist(), by_hand.documents, POSITIVES, by_hand.negatives, by_hand.out)
    return weighted_infonce_by_hand(*parts, 0.2, DIRECTIONS, weight)


def progressive_guided(batch: Batch) -> float:
    embeddings = batch.queries.tolist(), batch.documents.tolist()
    weight = product(
        guided_by_hand(*(part.tolist() for part in batch.guide), POSITIVES, 0.0, relative=False),
        progressive_by_hand(*embeddings, POSITIVES, batch.level.item()),
    )
    return weighted_infonce_by_hand(*embeddings, POSITIVES, NEGATIVES, OUT, 0.2, DIRECTIONS, weight)


def progressive_of_matryoshka(batch: Batch) -> float:
    """Scores are those of the cut embeddings, the level that of whole ones."""
    total = 0.0
    for d in (6, 2):
        parts = cut(batch, d)
        weight = progressive_by_hand(*parts, POSITIVES, batch.level.item())
        total += weighted_infonce_by_hand(*parts, POSITIVES, NEGATIVES, OUT, 0.2, DIRECTIONS, weight)
    return total


COMPOSITIONS = [
    (Matryoshka(loss=Guided(loss=FOUR, margin=0.1), dims=(6, 3), weights=(1.0, 0.5)), matryoshka_of_guided),
    (Matryoshka(loss=Mixing(loss=SOFT, pairwise=3), dims=(6, 4)), matryoshka_of_mixing),
    (Guided(loss=MIXING), guided_mixing),
    (Mixing(loss=Guided(loss=FOUR), pairwise=3), guided_mixing),
    (Progressive(loss=Guided(loss=FOUR)), progressive_guided),
    (Guided(loss=Progressive(loss=FOUR)), progressive_guided),
    (Progressive(loss=Matryoshka(loss=FOUR, dims=(6, 2))), progressive_of_matryoshka),
]
OTHERS = [
    Matryoshka(loss=MoCHi(loss=FOUR, pool="in_batch", detach=False), dims=(6, 3)),
    Mixing(loss=Mixing(loss=SOFT, detach=False), detach=False),
    Progressive(loss=Matryoshka(loss=MIXING.model_copy(update={"detach": False}), dims=(6, 3))),
]


@pytest.mark.parametrize(("loss", "by_hand"), COMPOSITIONS, ids=lambda part: getattr(part, "__name__", "")[:30])
def test_equals_the_formulas_in_loops(loss: Loss, by_hand):
    batch = deep_batch()
    assert loss(batch).item() == pytest.approx(by_hand(batch), rel=1e-8)


def value_and_gradients(loss: Loss, **changes) -> list[torch.Tensor]:
    batch = deep_batch()
    batch = batch.changed(queries=batch.queries.requires_grad_(), documents=batch.documents.requires_grad_(), **changes)
    value = loss(batch)
    return [value.detach(), *torch.autograd.grad(value, (batch.queries, batch.documents))]


@pytest.mark.parametrize("loss", [*(loss for loss, _ in COMPOSITIONS), *OTHERS], ids=str)
def test_tiles_and_ranges_equal_the_whole(loss: Loss):
    expected = value_and_gradients(loss)
    for tile in (1, 2, 3):
        torch.testing.assert_close(value_and_gradients(loss, tile=tile), expected)
    parts = [value_and_gradients(loss, local=rows) for rows in (range(1), range(1, 4))]
    found = [a / 4 + 3 * b / 4 for a, b in zip(*parts, strict=True)]
    torch.testing.assert_close(found, expected)


def test_mixes_of_other_queries_documents_need_no_teacher_score():
    loss = MoCHi(pool="in_batch").model_copy(update={"loss": SOFT})
    batch = deep_batch()
    assert torch.isfinite(loss(batch))
    assert loss(batch).item() != pytest.approx(SOFT(batch).item(), rel=1e-4)
