"""Ways to keep a corpus's vectors in fewer bytes, and to search what is kept.

A *codec* says in which numbers a vector is kept. A *code* is a codec, perhaps of vectors that `truncate` or `pca` made
shorter before. A *variant* is a code and how it is searched; `rescored` searches one code, and orders what that found
by another.
"""

import abc
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from embedkit.core.spec import Spec


class Codec(Spec, abc.ABC):
    """The numbers in which vectors are kept."""

    kind: str

    @property
    def label(self) -> str:
        """How tables and plots call it."""
        return self.kind

    @property
    def kept(self) -> Self:
        """The same for all codecs that keep the same bytes, however these are searched."""
        return self


class Float32(Codec):
    """As they are: 4 bytes a dimension."""

    kind: Literal["float32"] = "float32"


class Float16(Codec):
    """IEEE's half precision, 2 bytes a dimension; up to 65,504."""

    kind: Literal["float16"] = "float16"


class BFloat16(Codec):
    """The upper half of a float32, 2 bytes a dimension."""

    kind: Literal["bfloat16"] = "bfloat16"


class Int8(Codec):
    """One of 256 equal steps between a dimension's least and greatest value in a sample of the documents.

    `queries` float32: a query's numbers meet the middles of the steps. int8: the steps' widths are multiplied into the
    query, which then is rounded to -127 ... 127 of its greatest number, so that all products are of integers and the
    order is that of the former but for this one rounding [R]. codes: queries are coded as documents are, and codes are
    multiplied as they stand; that measures a dimension from the middle of its range, in steps, and is another score.
    Reference: `sentence_transformers.util.quantize_embeddings`, whose codes these are.
    """

    kind: Literal["int8"] = "int8"
    queries: Literal["float32", "int8", "codes"] = "float32"

    @property
    def label(self) -> str:
        return {"float32": "int8", "int8": "int8, int8 queries", "codes": "int8, coded queries"}[self.queries]

    @property
    def kept(self) -> Self:
        return self.model_copy(update={"queries": "float32"})


class Binary(Codec):
    """One bit a dimension: whether it is above 0.

    `queries` binary: documents are compared by the bits in which they differ from the query's (Hamming). float32: by
    the sum of the query's numbers, each with the sign of the document's bit.
    """

    kind: Literal["binary"] = "binary"
    queries: Literal["binary", "float32"] = "binary"

    @property
    def label(self) -> str:
        return "binary" if self.queries == "binary" else "binary, float queries"

    @property
    def kept(self) -> Self:
        return self.model_copy(update={"queries": "binary"})


class PQ(Codec):
    """Product quantisation: of each of `parts` equal parts of a vector the nearest of 256 centroids, a byte a part.

    Reference: Jégou, Douze & Schmid, Product Quantization for Nearest Neighbor Search, 2011; learnt by FAISS.
    """

    kind: Literal["pq"] = "pq"
    parts: PositiveInt

    @property
    def label(self) -> str:
        return f"pq {self.parts}"


AnyCodec = Annotated[Float32 | Float16 | BFloat16 | Int8 | Binary | PQ, Field(discriminator="kind")]


class Shortened(Spec, abc.ABC):
    """Fewer dimensions first, then a codec. Abstract."""

    kind: str
    dimensions: PositiveInt
    then: AnyCodec = Float32()

    @property
    def label(self) -> str:
        """How tables and plots call it."""
        head = f"{self.kind} {self.dimensions}"
        return head if isinstance(self.then, Float32) else f"{head} + {self.then.label}"

    @property
    def kept(self) -> Self:
        """The same for all codes that keep the same bytes."""
        return self.model_copy(update={"then": self.then.kept})


class Truncate(Shortened):
    """The first dimensions, brought to unit length again where the model compares by cosine (Matryoshka).

    Reference: https://arxiv.org/abs/2205.13147.
    """

    kind: Literal["truncate"] = "truncate"


class PCA(Shortened):
    """The directions in which a sample of the documents has most of its length, for models not trained to be truncated.

    Queries and documents are projected, neither centred nor scaled: of all projections to so few dimensions it loses
    least of the sample's squared length, and so of its dot products.
    """

    kind: Literal["pca"] = "pca"


AnyCode = Annotated[Float32 | Float16 | BFloat16 | Int8 | Binary | PQ | Truncate | PCA, Field(discriminator="kind")]


class Rescored(Spec):
    """The best `factor` x k documents by `first`, ordered anew by what `by` keeps of them and the query's floats; k is
    how deep the ranking goes, as deep as the metrics ask for.

    Where `by` keeps the same bytes as `first`, e.g. bits for Hamming and for a query's floats, they are kept once.
    """

    kind: Literal["rescored"] = "rescored"
    first: AnyCode
    by: AnyCode = Int8()
    factor: PositiveInt = 4

    @property
    def label(self) -> str:
        """How tables and plots call it."""
        return f"{self.first.label}, rescored x{self.factor} by {self.by.kept.label}"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.first, Float32):
            raise ValueError("first: full vectors leave nothing to rescore; name a smaller code")
        return self


AnyVariant = Annotated[
    Float16 | BFloat16 | Int8 | Binary | PQ | Truncate | PCA | Rescored, Field(discriminator="kind")
]  # full float32 is what they are held against

DEFAULT: tuple[AnyVariant, ...] = (
    Float16(),
    Int8(),
    Int8(queries="int8"),
    Binary(),
    Rescored(first=Binary(), by=Binary()),
    Rescored(first=Binary(), by=Int8()),
)
