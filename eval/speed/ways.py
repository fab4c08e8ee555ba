"""Ways to compute InfoNCE with one positive a query: embedkit's, and those of sentence-transformers."""

from collections.abc import Callable

import torch
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.util import dot_score
from torch import Tensor, nn
from torch.nn.functional import normalize

from embedkit.losses import Batch, InfoNCE, Ragged
from embedkit.training.objective import tile_rows

MINI_BATCHES = {"cpu": (32, 256, 512, 1024, 2048), "cuda": (32, 256, 1024, 4096, 8192)}
SLOWEST = 2**24  # scores up to which mini-batches of 32, the default of the peer, are worth the wait on a CPU
Way = Callable[[Tensor, Tensor], Tensor]


def embeddings(batch: int, dims: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor]:
    """(batch, dims) unit queries, and documents with a cosine of about 0.5 to them: a loss of about 0.5 at 8k."""
    generator = torch.Generator().manual_seed(0)
    queries = normalize(torch.randn(batch, dims, generator=generator), dim=1)
    documents = normalize(queries + 3**0.5 * normalize(torch.randn(batch, dims, generator=generator), dim=1), dim=1)
    return tuple(part.to(device, dtype).requires_grad_() for part in (queries, documents))  # type: ignore[return-value]


def variants(batch: int, device: str) -> dict[str, Way]:
    """Name -> forward and backward of one way to compute the loss, gradients left on the embeddings."""
    ways: dict[str, Way] = {"embedkit": _ours(tile_rows(batch, batch, device))}
    ways["embedkit whole"] = _ours(None)
    ways["plain"] = _plain
    for size in MINI_BATCHES[device]:
        if size < batch and (size > 32 or device == "cuda" or batch * batch <= SLOWEST):
            ways[f"cached {size}"] = _cached(size)
    return ways


def _ours(tile: int | None) -> Way:
    def run(queries: Tensor, documents: Tensor) -> Tensor:
        numbers = torch.arange(len(queries) + 1, device=queries.device)
        none = Ragged(torch.zeros_like(numbers), numbers[:0])
        one = Ragged(numbers, numbers[:-1])
        batch = Batch(queries, documents, numbers[:-1], numbers[:-1], one, none)
        value = InfoNCE()(batch.changed(tile=tile))
        value.backward()
        return value.detach()

    return run


def _plain(queries: Tensor, documents: Tensor) -> Tensor:
    loss = MultipleNegativesRankingLoss(None, similarity_fct=dot_score)
    value: Tensor = loss.compute_loss_from_embeddings([queries, documents], None)
    value.backward()
    return value.detach()


def _cached(size: int) -> Way:
    loss = CachedMultipleNegativesRankingLoss(
        nn.Sequential(nn.Identity()), similarity_fct=dot_score, mini_batch_size=size
    )

    def run(queries: Tensor, documents: Tensor) -> Tensor:
        value: Tensor = loss.calculate_loss([[queries], [documents]], with_backward=True)
        return value

    return run
