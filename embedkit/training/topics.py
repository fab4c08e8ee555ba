"""The passes over a source whose batches are of like queries, as the model sees them at the moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.stage import Context
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.identity import Precision
from embedkit.training.batching import AnyBatching, AnyClustering, NGAMEBatches, RandomBatches, TopicBatches
from embedkit.training.clusters import halved, topics
from embedkit.training.distributed import from_main
from embedkit.training.examples import Examples
from embedkit.training.prompts import Prompts
from embedkit.training.renewal import Floats, Renewals, Weights
from embedkit.training.samplers import Pass, mixed

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Numbers = NDArray[np.int64]

_BATCHES_OF_A_TOPIC: Final = 6  # in the paper of TAS: 200 queries for batches of 32
_REFRESHES: Final = 60  # of NGAME's clusters in a run: every 5 of 300 epochs


@dataclass(frozen=True)
class Alike:
    """The passes of `Batches`, with like queries in groups: those that may share a batch.

    A pass over which clusters are to be made more than once comes in parts, each of rows drawn at random: the model
    embeds and clusters a part when its first batch is due. So no row is embedded for batches it is not in, and every
    row is in a pass once.
    """

    batching: AnyClustering
    examples: Examples
    batch_size: int
    steps: int  # on this source
    seed: int
    prompt: str | None  # of queries
    weights: Weights
    renewals: Renewals

    def __call__(self, number: int) -> Pass:
        """The part of that number."""
        turn, place = divmod(number, self.parts)
        order = np.random.default_rng([self.seed, turn]).permutation(len(self.examples.rows))
        rows = np.array_split(order, self.parts)[place]
        size = self._size(number)
        if size == 1:
            return Pass(rows, turn=turn)
        known = np.sort(rows)
        labels = self.renewals.get(self._renewal(number), lambda: self._clusters(known, size, number))
        groups = np.full(len(order), -1, dtype=np.int64)
        groups[known] = labels
        share = self._share(size)
        if share < self.batch_size:
            rng = np.random.default_rng([self.seed, turn, place, 1])
            groups[rows] = bundled(groups[rows], share, self.batch_size, rng)
        return Pass(rows, groups, turn)

    @property
    def parts(self) -> int:
        """Parts of a pass."""
        return max(1, round(1 / self._passes_each))

    def facts(self) -> dict[str, Any]:
        """What clusters were made: for each renewal how many, and the sizes of the smallest and the largest."""
        found = [np.unique(labels, return_counts=True)[1] for labels in self.renewals.kept().values()]
        return {
            "kind": self.batching.kind,
            "clusters": [len(sizes) for sizes in found],
            "smallest": [int(sizes.min()) for sizes in found],
            "largest": [int(sizes.max()) for sizes in found],
        }

    def warnings(self) -> list[str]:
        """What a user should know of the clusters."""
        asked = self.batching.clusters if isinstance(self.batching, TopicBatches) else None
        fewest = min(self.facts()["clusters"], default=asked)
        if asked is None or fewest is None or 2 * fewest > asked:
            return []
        each = len(self.examples.rows) // self.parts
        return [
            f"batches: {asked} clusters were asked for, but {each:,} rows came to {fewest}, of at least "
            f"{self._share(0)} rows each; ask for fewer clusters, or cluster less often"
        ]

    @property
    def _passes_each(self) -> float:
        """Passes that the same clusters serve; infinite where they stay."""
        every = self.batching.every
        if every is None and isinstance(self.batching, NGAMEBatches):
            every = max(1, self.steps // _REFRESHES)
        return np.inf if every is None else every * self.batch_size / len(self.examples.rows)

    def _renewal(self, number: int) -> int:
        """Which clusters a part is of: its own, or where they serve several passes, those of the first of these."""
        if self.parts > 1:
            return number
        each = 0 if np.isinf(self._passes_each) else max(1, round(self._passes_each))
        return number // each * each if each else 0

    def _size(self, number: int) -> int:
        """Rows of a cluster, where clusters are equally large; 0 where they are topics."""
        if isinstance(self.batching, TopicBatches):
            return 0
        begun = self._renewal(number) * len(self.examples.rows) / self.parts / self.batch_size
        return self.batching.size(begun / self.steps)

    def _share(self, size: int) -> int:
        """Rows of a batch that are from one cluster."""
        if isinstance(self.batching, TopicBatches):
            return self.batch_size // self.batching.per_batch
        return min(size, self.batch_size)

    def _clusters(self, rows: Numbers, size: int, number: int) -> Numbers:
        """(n,) the clusters of these rows."""
        queries, places = np.unique(self.examples.rows.queries[rows], return_inverse=True)
        texts = [self.examples.queries[query] for query in queries.tolist()]
        vectors = self.weights.queries(texts, self.prompt)[places]
        seed = mixed(self.seed, number)
        if isinstance(self.batching, NGAMEBatches):
            return halved(vectors, size, seed=seed)
        share = self._share(size)
        count = self.batching.clusters or max(1, len(rows) // (_BATCHES_OF_A_TOPIC * share))
        return topics(vectors, count, least=share, seed=seed)


class Orders:
    """Makes the orders of a training's sources, by the weights that it has come to."""

    def __init__(self, start: Path, context: Context) -> None:
        """`start` is the model that training begins with."""
        self._context = context
        encoder = open_encoder(start, context)

        def embed(texts: Sequence[str], prompt: str | None) -> Floats:
            prompted = encoder.prompted({"query": prompt or ""})
            from_main(lambda: prompted.stored("query", texts).shape)  # other processes find them stored
            return prompted.queries(texts)

        self._weights = Weights(embed)

    def follow(self, model: "SentenceTransformer", precision: Precision) -> None:
        """From now on, `model` is the one that is trained."""
        self._weights.follow(model, precision)

    def of(
        self,
        number: int,
        batching: AnyBatching,
        examples: Examples,
        prompts: Prompts,
        *,
        batch_size: int,
        steps: int,
        seed: int,
    ) -> Alike | None:
        """Of the source of that number; None where any rows go together."""
        if isinstance(batching, RandomBatches):
            return None
        renewals = Renewals(self._context.work / "clusters" / f"{number}", emit=self._context.emit)
        return Alike(batching, examples, batch_size, steps, seed, prompts.query, self._weights, renewals)


def bundled(labels: Numbers, share: int, batch_size: int, rng: np.random.Generator) -> Numbers:
    """(n,) of rows with these clusters: the batch that each is meant for.

    A batch gets `share` rows of each of as many clusters as it has room for, drawn at random. What is left of clusters,
    in their order, fills the room that remains, and then batches of its own.
    """
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    starts = np.flatnonzero(np.diff(labels[order], prepend=labels[order[:1]] - 1))
    sizes = np.diff(starts, append=len(order))
    place = np.arange(len(order)) - np.repeat(starts, sizes)  # in its cluster
    whole = place < np.repeat(sizes // share * share, sizes)
    pieces = order[whole].reshape(-1, share)
    each = batch_size // share
    count = min(len(pieces) // each, len(labels) // batch_size)
    drawn = rng.permutation(len(pieces))
    taken = np.sort(drawn[count * each :])
    rest = np.concatenate([pieces[taken].ravel(), order[~whole]])
    rest = rest[np.argsort(labels[rest], kind="stable")]
    room = batch_size - each * share
    groups = np.empty(len(labels), dtype=np.int64)
    groups[pieces[drawn[: count * each]].ravel()] = np.repeat(np.arange(count), each * share)
    filler = min(count * room, len(rest))
    groups[rest[:filler]] = np.arange(filler) // max(room, 1)
    groups[rest[filler:]] = count + np.arange(len(rest) - filler) // batch_size
    return groups
