"""Law: what a loss makes is on the device of the embeddings, which a machine without a GPU can check.

A factory called without a device makes a tensor on the default one: made "meta", where there are no data, it fails or
gives nothing.
"""

import pytest
import torch

from tests.laws.test_losses import COMPOSITIONS, graph_batch, value_and_gradients
from tests.training import ranks
from tests.training.members import every_loss

EVERY = every_loss() | {f"{loss.kind} composed {i}": loss for i, loss in enumerate(COMPOSITIONS)}


@pytest.mark.parametrize("tile", [None, 2])
@pytest.mark.parametrize("loss", EVERY.values(), ids=EVERY)
def test_a_loss_needs_no_default_device(loss, tile):
    expected = value_and_gradients(loss, graph_batch().changed(tile=tile))
    batch = graph_batch().changed(tile=tile)
    with torch.device("meta"):
        found = value_and_gradients(loss, batch)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("loss", every_loss().values(), ids=every_loss())
def test_nor_do_batches_of_a_training_step(loss):
    columns, steps = ranks.inputs(list(range(5)))
    expected, found = (ranks.Objective(ranks.Bag(), loss, tile=2) for _ in range(2))
    wanted = expected(columns, steps)
    with torch.device("meta"):
        value = found(columns, steps)
        value.backward()
    torch.testing.assert_close(value, wanted)
