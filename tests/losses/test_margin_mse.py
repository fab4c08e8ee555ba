import pytest
import torch
from torch.autograd import gradcheck

from embedkit.losses import Batch, MarginMSE, Ragged
from tests.losses.batches import POSITIVES, nested, own_scores, ragged_batch
from tests.oracles import margin_mse_by_hand


def test_equals_the_formula_in_loops():
    batch = ragged_batch()
    expected = margin_mse_by_hand(own_scores(batch), nested(batch.targets), [len(p) for p in POSITIVES])
    assert MarginMSE()(batch).item() == pytest.approx(expected, rel=1e-9)


def test_gradients_are_right():
    batch = ragged_batch()

    def value(queries, documents):
        return MarginMSE()(ragged_batch(queries=queries, documents=documents))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


def test_equals_sentence_transformers():
    from sentence_transformers.sentence_transformer.losses import MarginMSELoss

    generator = torch.Generator().manual_seed(1)
    columns = [torch.randn(5, 8, generator=generator) for _ in range(4)]
    targets = torch.rand(5, 3, generator=generator)
    theirs = MarginMSELoss(_Given())([{"rows": column} for column in columns], targets)
    batch = Batch(
        columns[0],
        torch.cat(columns[1:]),
        torch.arange(5),
        torch.arange(15),
        Ragged.of([[i] for i in range(5)]),
        Ragged.of([[5 + i, 10 + i] for i in range(5)]),
        torch.empty(0, 2, dtype=torch.int64),
        targets=Ragged.of(targets.tolist(), dtype=torch.float32),
    )
    assert MarginMSE()(batch).item() == pytest.approx(theirs.item(), rel=1e-5)


class _Given(torch.nn.Module):
    """A model whose embeddings are its input."""

    def forward(self, features):
        return {"sentence_embedding": features["rows"]}
