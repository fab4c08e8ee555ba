import pytest
import torch

from embedkit.core.errors import DataError
from embedkit.losses import InfoNCE, Ragged
from tests.losses.batches import KNOWN, POSITIVES, SUSPECTS, ragged_batch


def test_own_lists_are_positives_then_negatives():
    batch = ragged_batch()
    assert batch.own.values.tolist() == [0, 5, 6, 1, 2, 7, 3, 4, 0, 5, 1]
    assert batch.own.offsets.tolist() == [0, 3, 6, 7, 11]


def test_lists_of_a_batch_are_positives_known_and_suspects():
    batch = ragged_batch()
    relevant = {(i, p) for i, row in enumerate(POSITIVES) for p in row} | KNOWN
    assert pairs(batch.relevant) == relevant
    assert pairs(batch.excluded) == relevant | SUSPECTS
    assert pairs(batch.excluded_by) == {(d, q) for q, d in relevant | SUSPECTS}


def test_queries_of_one_text_know_each_other():
    batch = ragged_batch(query_ids=torch.tensor([5, 3, 5, 5]))
    assert pairs(batch.same_query) == {(i, j) for i in (0, 2, 3) for j in (0, 2, 3)} | {(1, 1)}


def test_what_is_cached_follows_the_queries_in_view():
    batch = ragged_batch()
    assert len(batch) == 4
    assert batch.entries[0].tolist() == [0, 1, 1, 2, 3, 3]
    view = batch.changed(local=range(1, 3))
    assert view.rows.tolist() == [1, 2]
    assert [part.tolist() for part in view.entries] == [[1, 1, 2], [1, 2, 3]]
    assert torch.equal(view.local_queries, batch.queries[1:3])
    twice = view.changed(queries=2 * batch.queries)
    assert torch.equal(twice.local_queries, 2 * batch.queries[1:3])
    assert batch.rows.tolist() == [0, 1, 2, 3]


def test_without_negatives_keeps_every_relevant_document():
    batch = ragged_batch().without_negatives()
    assert batch.doc_ids.tolist() == [100, 107, 106, 105, 104, 102, 101]  # 103 is nobody's positive
    assert batch.guide.documents.shape == (7, 3)
    assert batch.doc_classes.tolist() == [0, 1, 1, 0, 2, 0, -1]
    assert pairs(batch.positives) == {(i, p) for i, row in enumerate(POSITIVES) for p in row}


def test_without_negatives_keeps_what_is_nobodys_own():
    """As a memory's documents, which are further negatives of all."""
    assert ragged_batch(negatives=False).without_negatives().doc_ids.tolist() == ragged_batch().doc_ids.tolist()


def pairs(ragged: Ragged) -> set[tuple[int, int]]:
    return set(zip(ragged.rows.tolist(), ragged.values.tolist(), strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positives": Ragged.of([[0], [1], [2], []])}, "no positive"),
        ({"positives": Ragged.of([[0], [1], [2]])}, "4 lists"),
        ({"positives": Ragged.of([[0], [1], [2], [8]])}, "outside the 8 documents"),
        ({"doc_ids": torch.tensor([1, 1, 2, 3, 4, 5, 6, 7])}, "two documents have one id"),
        ({"doc_ids": torch.arange(7)}, "7 document ids for 8 documents"),
        ({"query_ids": torch.arange(5)}, "5 query ids for 4 queries"),
        ({"documents": torch.zeros(8, 5)}, "embeddings must be"),
        ({"known": torch.zeros(3, dtype=torch.int64)}, "known must be"),
        ({"local": range(2, 5)}, "account for are range.2, 5. of 4"),
        ({"targets": Ragged.of([[1.0]] * 4)}, "target scores"),
    ],
)
def test_a_batch_that_cannot_be_says_why(change, message):
    with pytest.raises(DataError, match=message):
        ragged_batch(**change)


def test_the_maths_is_float32_under_autocast_and_for_half_precision_embeddings():
    exact = InfoNCE()(ragged_batch()).item()
    batch = ragged_batch(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert InfoNCE()(batch).item() == pytest.approx(exact, rel=1e-5)
    assert InfoNCE()(ragged_batch(dtype=torch.bfloat16)).dtype == torch.float32
