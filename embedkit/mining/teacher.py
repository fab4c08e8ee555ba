"""Teachers: what scores (query, document) pairs better than the student does.

To add one: write a class, then add it to `AnyTeacher`.
"""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from embedkit.core.estimate import Size
from embedkit.core.spec import Execution, LocalPath, ModelRef, Spec
from embedkit.core.stage import Artifact, Context

Rows = NDArray[np.int64]
Scores = NDArray[np.floating[Any]]
Scorer = Callable[[Sequence[str], Sequence[Rows]], list[Scores]]
"""Q query texts and, for each, rows of the documents to score -> the scores, list by list."""


class Teacher(Spec, abc.ABC):
    """Scores documents for queries. Higher is better; the scale is its own."""

    kind: str
    weight: PositiveFloat = 1.0  # in the fusion, relative to the other teachers

    @abc.abstractmethod
    def open(
        self,
        documents: Sequence[str],
        inputs: Mapping[str, Artifact],
        context: Context,
        *,
        queries: Sequence[str] = (),
    ) -> Scorer:
        """A scorer of these documents. Reading, encoding or indexing them is done here.

        `queries` that will be scored are encoded together, so that no score depends on how they are asked for.
        """

    def label(self, inputs: Mapping[str, Artifact]) -> dict[str, str]:
        """What stats call this teacher. Artifacts know no stage names, so a model is named by its key."""
        return {"kind": self.kind}

    def flops(self, sizes: Mapping[str, Size], *, documents: int, queries: int, pairs: int, tokens: float) -> float:
        """Floating-point operations of opening and of scoring `pairs` pairs of `tokens` tokens a document."""
        return 0.0


class BM25(Teacher):
    """Word matching, see `embedkit.mining.bm25.BM25Index`; its statistics are those of the whole corpus."""

    kind: Literal["bm25"] = "bm25"
    k1: NonNegativeFloat = 1.2
    b: Annotated[float, Field(ge=0, le=1)] = 0.75

    def open(
        self,
        documents: Sequence[str],
        inputs: Mapping[str, Artifact],
        context: Context,
        *,
        queries: Sequence[str] = (),
    ) -> Scorer:
        from embedkit.mining.bm25 import open_index, word_scorer

        return word_scorer(open_index(documents, context, k1=self.k1, b=self.b), context)


class Encoder(Teacher):
    """Another embedding model: the similarity of its vectors of query and document."""

    kind: Literal["encoder"] = "encoder"
    model: ModelRef

    def open(
        self,
        documents: Sequence[str],
        inputs: Mapping[str, Artifact],
        context: Context,
        *,
        queries: Sequence[str] = (),
    ) -> Scorer:
        from embedkit.mining.lists import vector_scorer
        from embedkit.retrieval.encoder import open_encoder

        encoder = open_encoder(inputs[self.model].path, context)
        return vector_scorer(encoder, encoder.stored("document", documents), queries)

    def label(self, inputs: Mapping[str, Artifact]) -> dict[str, str]:
        return {"kind": self.kind, "model": inputs[self.model].key}

    def flops(self, sizes: Mapping[str, Size], *, documents: int, queries: int, pairs: int, tokens: float) -> float:
        model = sizes[self.model]
        return 2.0 * model.active_parameters * (documents * tokens + queries * tokens / 4)


class Folder(Spec):
    """A model folder on this machine."""

    kind: Literal["folder"] = "folder"
    path: LocalPath


class Hub(Spec):
    """A model of the Hugging Face hub, at one commit."""

    kind: Literal["hub"] = "hub"
    name: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class CrossEncoder(Teacher):
    """A model that reads query and document together and gives one score; raw, without its activation.

    Only safetensors weights are read and no code that comes with a model is run.
    """

    kind: Literal["cross_encoder"] = "cross_encoder"
    source: Annotated[Folder | Hub, Field(discriminator="kind")]
    max_length: PositiveInt | None = None
    precision: Literal["float32", "bfloat16"] = "float32"  # bfloat16: faster on GPUs made for it
    batch_size: Annotated[PositiveInt, Execution()] = 32

    def open(
        self,
        documents: Sequence[str],
        inputs: Mapping[str, Artifact],
        context: Context,
        *,
        queries: Sequence[str] = (),
    ) -> Scorer:
        from embedkit.mining.cross_encoder import load, score_lists

        model = load(self.source, max_length=self.max_length, precision=self.precision)

        def score(queries: Sequence[str], lists: Sequence[Rows]) -> list[Scores]:
            return score_lists(model, queries, documents, lists, self.batch_size, context.progress)

        return score

    def label(self, inputs: Mapping[str, Artifact]) -> dict[str, str]:
        return {"kind": self.kind} if isinstance(self.source, Folder) else {"kind": self.kind, "hub": self.source.name}

    def flops(self, sizes: Mapping[str, Size], *, documents: int, queries: int, pairs: int, tokens: float) -> float:
        if isinstance(self.source, Hub) or not self.source.path.is_dir():
            return 0.0
        parameters = sum(file.stat().st_size for file in self.source.path.glob("*.safetensors")) / 4
        return 2.0 * parameters * pairs * tokens * 1.25


AnyTeacher = Annotated[BM25 | Encoder | CrossEncoder, Field(discriminator="kind")]
