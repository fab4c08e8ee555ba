"""Pairs that training draws batches from, each with a loss of its own."""

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from embedkit.core.errors import Problem
from embedkit.core.spec import PairsRef, Spec
from embedkit.core.stage import Stage
from embedkit.losses import AnyLoss, InfoNCE, Loss
from embedkit.losses.base import Need
from embedkit.training.batching import AnyBatching, RandomBatches
from embedkit.training.texts import Picks


class Source(Spec):
    """Further pairs of a `train` stage. Every batch is of one source; `mixing` says how many each has."""

    pairs: PairsRef
    loss: AnyLoss = InfoNCE()
    share: PositiveFloat = 1.0  # of the steps, where mixing is `shares`; the stage's own pairs have 1
    group: str | None = None  # whose part of the steps it has, where mixing is `sizes`
    batch_size: Annotated[int, Field(ge=2)] | None = None  # null: the stage's
    positives: PositiveInt | None = 1  # these four as in the stage
    negatives: NonNegativeInt | None = None
    vary_negatives: bool = False
    random_negatives: NonNegativeInt = 0
    batches: AnyBatching = RandomBatches()
    query_prompt: str | None = None  # name of a prompt that the model declares; null: the model's for queries
    document_prompt: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "Source":
        check_negatives(self.negatives, vary=self.vary_negatives)
        check_loss(self.loss, negatives=self.negatives, random_negatives=self.random_negatives)
        return self

    @property
    def picks(self) -> Picks:
        """Which documents a batch shows."""
        return Picks(self.positives, self.negatives, self.vary_negatives, self.random_negatives)

    @property
    def row_needs(self) -> frozenset[Need]:
        """What the loss needs of every row."""
        return self.loss.needs - ({"negatives"} if self.random_negatives else set())

    def conflicts(self, stages: Mapping[str, Stage]) -> Iterator[Problem]:
        """What its loss and its pairs cannot do together."""
        pairs, loss = stages.get(self.pairs), self.loss
        if pairs is None:
            return
        if "targets" in loss.needs and not pairs.scored:
            yield Problem(
                ("pairs",),
                f"loss {loss.kind} needs target scores, but {self.pairs!r} has none; a `teach` stage makes them",
            )
        if "targets" not in loss.needs and pairs.scored and pairs.produces == "dataset":
            yield Problem(
                ("pairs",),
                f"loss {loss.kind} takes every positive for relevant, but those of {self.pairs!r} are any documents "
                "with a score; take a loss that learns scores, or no score column",
            )


def check_negatives(negatives: int | None, *, vary: bool) -> None:
    """A `ValueError` where negatives are to vary, and there are no others than those that are shown."""
    if vary and not negatives:
        shown = "none is" if negatives == 0 else "all are"
        raise ValueError(f"vary_negatives changes nothing where {shown} shown; set negatives to how many a batch shows")


def check_loss(loss: Loss, *, negatives: int | None, random_negatives: int = 0) -> None:
    """A `ValueError` where the loss needs negatives and none are shown, or something of them that random ones lack."""
    if random_negatives and (lacking := loss.needs & {"targets", "guide"}):
        what = "target scores" if "targets" in lacking else "vectors of the guide"
        raise ValueError(f"loss {loss.kind} needs {what} of negatives, and random_negatives have none")
    if "negatives" in loss.needs and negatives == 0 and not random_negatives:
        raise ValueError(f"loss {loss.kind} compares each query's own documents, so negatives must not be 0")
