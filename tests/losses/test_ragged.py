import torch

from embedkit.losses import Ragged


def test_ragged_knows_rows_and_pads():
    ragged = Ragged.of([[1, 2], [], [3]])
    values, present = ragged.padded()
    assert ragged.rows.tolist() == [0, 0, 2]
    assert values.tolist() == [[1, 2], [0, 0], [3, 0]]
    assert present.tolist() == [[True, True], [False, False], [True, False]]


def test_takes_rows_in_any_order_and_again():
    ragged = Ragged.of([[1, 2], [], [3]])
    taken = ragged.take(torch.tensor([2, 0, 1, 0]))
    assert taken.offsets.tolist() == [0, 1, 3, 3, 5]
    assert taken.values.tolist() == [3, 1, 2, 1, 2]
    assert len(ragged.take(torch.empty(0, dtype=torch.int64))) == 0


def test_sets_are_distinct_and_sorted():
    rows, values = torch.tensor([2, 0, 0, 2, 0]), torch.tensor([4, 3, 1, 4, 3])
    ragged = Ragged.sets(rows, values, count=4, limit=5)
    assert ragged.offsets.tolist() == [0, 2, 2, 3, 3]
    assert ragged.values.tolist() == [1, 3, 4]
