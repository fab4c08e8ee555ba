"""Indexes a recipe can name: nearest documents by dot product, which for unit vectors is the cosine.

To add one: write a class whose results equal those of `Exact`, or say in its docstring how they differ, and add it to
`AnyIndex`.
"""

from typing import Annotated

from pydantic import Field

from embedkit.retrieval.exact import Exact
from embedkit.retrieval.flat import Faiss
from embedkit.retrieval.hnsw import HNSW
from embedkit.retrieval.ivf import IVF
from embedkit.retrieval.searcher import Index, Searcher

__all__ = ["HNSW", "IVF", "AnyIndex", "Exact", "Faiss", "Index", "Searcher"]

AnyIndex = Annotated[Exact | Faiss | IVF | HNSW, Field(discriminator="kind")]
