import pytest
import torch

from embedkit.core.errors import DataError
from embedkit.losses import InfoNCE, Ragged
from tests.losses.batches import KNOWN, POSITIVES, ragged_batch


def test_ragged_knows_rows_and_pads():
    ragged = Ragged.of([[1, 2], [], [3]])
    values, present = ragged.padded()
    assert ragged.rows.tolist() == [0, 0, 2]
    assert values.tolist() == [[1, 2], [0, 0], [3, 0]]
    assert present.tolist() == [[True, True], [False, False], [True, False]]


def test_own_lists_are_positives_then_negatives():
    batch = ragged_batch()
    assert batch.own.values.tolist() == [0, 5, 6, 1, 2, 7, 3, 4, 0, 5, 1]
    assert batch.own.offsets.tolist() == [0, 3, 6, 7, 11]


def test_excluded_is_positives_and_known_for_any_rows_and_columns():
    batch = ragged_batch()
    expected = {(i, p) for i, row in enumerate(POSITIVES) for p in row} | KNOWN
    rows, columns = torch.tensor([3, 0, 0, 2]), torch.tensor([7, 0, 6])
    found = batch.excluded(rows, columns)
    assert found.tolist() == [[(int(r), int(c)) in expected for c in columns] for r in rows]


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
        ({"offset": 1}, "offset 1 with 4 of 4"),
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
