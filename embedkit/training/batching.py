"""Which rows of a source go together in a batch: any, or those of one topic."""

from typing import Annotated, Final, Literal

from pydantic import Field, PositiveInt, field_validator

from embedkit.core.spec import Spec

Share = Annotated[float, Field(gt=0, lt=1)]

_DOUBLED: Final = tuple(epoch / 300 for epoch in (10, 20, 25, 50, 75, 100, 125, 150, 200))


class RandomBatches(Spec):
    """Any rows, shuffled in each pass."""

    kind: Literal["random"] = "random"

    def embedded(self, rows: int, shown: int) -> int:
        """About how many queries the model embeds for it, of so many rows, in a training that shows so many."""
        return 0

    def check(self, batch_size: int) -> None:
        """Nothing."""

    def check_installed(self) -> None:
        """Nothing."""


class TopicBatches(Spec):
    """Queries of a few topics in each batch, so that in-batch negatives are hard (TAS: topic-aware sampling).

    The queries' vectors fall into clusters (see `clusters.topics`), and a batch takes as many rows from each of
    `per_batch` clusters, drawn at random. What is left of a cluster when it has too few rows makes up batches with
    what is left of clusters like it, at the end of the pass.
    Reference: https://arxiv.org/abs/2104.06967, section 3.2.
    """

    kind: Literal["clusters"] = "clusters"
    clusters: PositiveInt | None = None  # of what is clustered at a time; null: as many as have rows for six batches
    per_batch: PositiveInt = 1
    # Steps on this source after which the model clusters anew what it is shown next; null: the start's clusters stay.
    every: PositiveInt | None = None

    def embedded(self, rows: int, shown: int) -> int:
        """About how many queries the model embeds for it, of so many rows, in a training that shows so many."""
        return rows if self.every is None else max(rows, shown)

    def check(self, batch_size: int) -> None:
        """A `ValueError` where a batch has fewer rows than it is to have clusters."""
        if self.per_batch > batch_size:
            raise ValueError(f"batches: {self.per_batch} clusters in each batch, and batches have {batch_size} rows")

    def check_installed(self) -> None:
        """Raise `EmbedkitError` if FAISS is not there."""
        from embedkit.training.clusters import check_faiss

        check_faiss()


class NGAMEBatches(Spec):
    """Batches of whole small clusters, drawn at random: one row each at first, twice as many again and again.

    Clusters are equally large and made by halving (see `clusters.halved`), by the model as it is every `every` steps.
    Reference: https://arxiv.org/abs/2207.04452.
    """

    kind: Literal["ngame"] = "ngame"
    every: PositiveInt | None = None  # steps on this source; null: a sixtieth of them
    doubled_at: tuple[Share, ...] = _DOUBLED  # parts of the run, as in the paper's code

    def check(self, batch_size: int) -> None:
        """Nothing."""

    def check_installed(self) -> None:
        """Nothing."""

    def embedded(self, rows: int, shown: int) -> int:
        """About how many queries the model embeds for it, of so many rows, in a training that shows so many."""
        return shown

    @field_validator("doubled_at")
    @classmethod
    def _ascending(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if list(shares) != sorted(set(shares)):
            raise ValueError("parts of the run at which the size doubles, each later than the one before")
        return shares

    def size(self, done: float) -> int:
        """Rows of a cluster when this part of the run is done."""
        return int(2 ** sum(share <= done for share in self.doubled_at))


AnyBatching = Annotated[RandomBatches | TopicBatches | NGAMEBatches, Field(discriminator="kind")]
AnyClustering = TopicBatches | NGAMEBatches
