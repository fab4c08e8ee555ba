"""What every loss must return."""

import abc
from typing import ClassVar, Literal

import torch
from torch import Tensor

from embedkit.core.spec import Spec
from embedkit.losses.batch import Batch
from embedkit.losses.kernels import HALF, half_products
from embedkit.losses.tiles import in_tiles

Need = Literal["targets", "negatives", "taught", "classes", "guide", "level"]


class Loss(Spec, abc.ABC):
    """A training objective: a pure function of embeddings, with its hyper-parameters as fields.

    Law: for any division of the queries into ranges, the values (and gradients) with each range as `local`, weighted
    by its length, average to those of the whole batch. Several processes and `tile` rest on it. A loss that is one
    number for the whole batch (a correlation, say) satisfies it by ignoring `local`.
    """

    kind: str
    tiled: ClassVar[bool] = False  # True: `compute` makes (B, M) scores, so it is called for one tile at a time

    def __call__(self, batch: Batch) -> Tensor:
        """The mean loss over the local queries, a scalar, computed in float32 or wider also under autocast.

        Where a GPU runs in half precision, factors of scores are rounded to bfloat16; their sums and all that follows
        are float32.
        """
        device = batch.queries.device
        half = batch.queries.dtype in HALF or torch.is_autocast_enabled(device.type)
        with torch.autocast(device.type, enabled=False):
            wide = batch.full_precision()
            if half and half_products(device):
                wide = wide.changed(products=torch.bfloat16)
            if self.tiled and wide.tile is not None and len(wide) > wide.tile:
                return in_tiles(self.compute, wide)
            return self.compute(wide)

    @abc.abstractmethod
    def compute(self, batch: Batch) -> Tensor:
        """The loss of a batch whose embeddings are float32 or wider."""

    @property
    def needs(self) -> frozenset[Need]:
        """Parts of a batch that this loss cannot do without."""
        return frozenset()

    @property
    def contrasts(self) -> bool:
        """Whether it has in-batch negatives, which rules can re-weight and leave out. A class variable will do."""
        return False

    def next_level(self, level: Tensor | None, batch: Batch) -> Tensor | None:
        """What `batch.level` is from this batch on, given what it was (None at first); None where it is not used."""
        return None
