"""What every loss of sentence-transformers has here: a name, checked arguments, and the data it learns from."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import PositiveInt

from embedkit.core.errors import ModelError
from embedkit.core.spec import Execution, Reference, Spec

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

    OpenModel = Callable[[str], SentenceTransformer]  # by the name of the stage that made it

LOSSES = "sentence_transformers.sentence_transformer.losses"


@dataclass(frozen=True)
class Data:
    """What a loss learns from.

    Rows are `tuples` (a query, one of its positives, and a fixed number of its negatives), `pairs` (a query and any
    one of its documents) or single `texts`. Labels are `scores` (target scores of the row's documents), `relevance`
    (1 for a positive, 0 for a negative), `classes` (of a text; of a pair, its score, below `classes`) or `embeddings`
    (of the row's texts, by the model `teacher`).
    """

    rows: Literal["tuples", "pairs", "texts"]
    labels: Literal["scores", "relevance", "classes", "embeddings"] | None = None
    fewest: int = 0  # negatives of the query's own
    most: int | None = None
    sampler: Literal["batch_sampler", "no_duplicates", "group_by_label"] = "batch_sampler"
    classes: int | None = None
    teacher: str | None = None
    dimensions: int | None = None  # of the teacher's embeddings, where they are not the model's

    @property
    def scored(self) -> bool:
        """Whether the pairs must have target scores."""
        return self.labels == "scores" or self.classes is not None


IN_BATCH = Data("tuples", sampler="no_duplicates")  # documents of other rows are negatives, so no text is there twice


@dataclass(frozen=True)
class Named:
    """Marks the name of an object in `place`, a module or a class in one; with `make`, of a class to be called."""

    place: str
    make: bool = False

    def resolve(self, name: str) -> Any:
        """The object."""
        module, _, owner = self.place.partition(":")
        place = getattr(import_module(module), owner) if owner else import_module(module)
        found = getattr(place, name)
        return found() if self.make else found


Similarity = Annotated[
    Literal["cos_sim", "dot_score", "euclidean_sim", "manhattan_sim"], Named("sentence_transformers.util")
]
PairwiseSimilarity = Annotated[
    Literal["pairwise_cos_sim", "pairwise_dot_score", "pairwise_euclidean_sim", "pairwise_manhattan_sim"],
    Named("sentence_transformers.util"),
]
MiniBatchSize = Annotated[PositiveInt, Execution()]
MiniBatchTokens = Annotated[PositiveInt | None, Execution()]


class Peer(Spec):
    """A loss of sentence-transformers: `name` is its class, the other fields are the arguments of its constructor."""

    name: str
    learns_from: ClassVar[Data]
    ours: ClassVar[frozenset[str]] = frozenset({"name"})  # fields that are no arguments

    @property
    def data(self) -> Data:
        """What it learns from."""
        return self.learns_from

    @property
    def caches(self) -> bool:
        """Whether it embeds its texts again in the backward pass."""
        return False

    def build(self, model: "SentenceTransformer", open_model: "OpenModel") -> "nn.Module":
        """The loss itself, for `model`. A `ModelError` where it refuses the model."""
        arguments = {name: self._argument(name, model, open_model) for name in self.arguments()}
        arguments |= self.given(model)
        try:
            loss: nn.Module = getattr(import_module(LOSSES), self.name)(model, **arguments)
        except (ValueError, AssertionError) as error:
            raise ModelError(f"loss {self.name}: {' '.join(str(error).split()) or 'it refuses this model'}") from error
        return loss

    def given(self, model: "SentenceTransformer") -> dict[str, Any]:
        """Arguments that a recipe cannot set."""
        return {}

    @classmethod
    def arguments(cls) -> list[str]:
        """The arguments of its constructor that a recipe can set."""
        return [name for name in cls.model_fields if name not in cls.ours]

    def _argument(self, name: str, model: "SentenceTransformer", open_model: "OpenModel") -> Any:
        value = getattr(self, name)
        if isinstance(value, Peer):
            return value.build(model, open_model)
        for mark in type(self).model_fields[name].metadata:
            if isinstance(mark, Named):
                return mark.resolve(value)
            if isinstance(mark, Reference):
                return open_model(value)
        return value
