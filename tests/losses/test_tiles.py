"""What tiles ask of a loss, with one that does what they make hard: it changes documents and queries by itself."""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch.nn.functional import normalize

from embedkit.losses import InfoNCE, Loss, negatives
from tests.losses.batches import ragged_batch


class Turned(Loss):
    """InfoNCE of embeddings turned inside the tile."""

    kind: str = "turned"
    tiled: ClassVar[bool] = True
    how: str = "changed"

    def compute(self, batch):
        turn = torch.linspace(0.5, 2, 6, dtype=batch.queries.dtype)
        fields = {"queries": batch.queries * turn, "documents": normalize(batch.documents * turn, dim=1)}
        other = batch.changed(**fields) if self.how == "changed" else replace(batch, **fields)
        return InfoNCE().compute(other) + 0.1 * negatives(batch).logits(1.0).exp().sum(1).mean()


@pytest.mark.parametrize("how", ["changed", "replace"])
@pytest.mark.parametrize("tile", [1, 3])
def test_a_loss_may_give_itself_other_embeddings(how, tile):
    found = []
    for size in (None, tile):
        batch = ragged_batch()
        batch.queries.requires_grad_()
        batch.documents.requires_grad_()
        value = Turned(how=how)(batch.changed(tile=size))
        found.append([value.detach(), *torch.autograd.grad(value, (batch.queries, batch.documents))])
    torch.testing.assert_close(found[1], found[0])
