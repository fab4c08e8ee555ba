"""A mine stage's inputs of any size whose vectors are made by arithmetic: nothing is encoded, nothing large is held."""

import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embedkit.core.records import open_corpus, open_queries
from embedkit.core.stage import Artifact, Context
from embedkit.retrieval.encoder import StoredEncoder, open_encoder
from embedkit.retrieval.identity import VectorIdentity

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Column = Callable[[Rows], Sequence[Any]]
_AT_A_TIME: Final = 8192  # rows of a table in memory
_WORDS: Final = np.array([a + b + c for a in "bdfklmnprstvz" for b in "aeiou" for c in ("", "n", "ra", "sto", "lim")])
_NUMBER: Final = re.compile(r"\d+")


@dataclass(frozen=True)
class Synthetic:
    """N documents in clusters of about a hundred, and Q queries, each near the one document relevant to it."""

    documents: int
    queries: int
    dims: int

    def place(self, folder: Path, model: Path) -> dict[str, Artifact]:
        """Write the data set, and the vectors that the model is made to give; the stage's inputs `data` and `model`."""
        data, context = folder / "data", Context(folder / "prepared", folder / "embeddings")
        (data / "qrels").mkdir(parents=True)
        context.work.mkdir()
        corpus = {"doc_id": ids("d"), "title": lambda rows: [""] * len(rows), "text": lambda rows: texts(rows, 40)}
        write_table(data / "corpus.parquet", self.documents, corpus)
        write_table(data / "queries.parquet", self.queries, {"query_id": ids("q"), "text": lambda rows: texts(rows, 8)})
        relevance = {"relevance": lambda rows: np.ones(len(rows), dtype=np.int32)}
        judged = {"query_id": ids("q"), "doc_id": lambda rows: ids("d")(self.relevant(rows)), **relevance}
        write_table(data / "qrels" / "train.parquet", self.queries, judged)
        with patch.object(StoredEncoder, "_encode", self._encode):
            encoder = open_encoder(model, context)
            encoder.stored("document", open_corpus(data, context.work).documents())
            encoder.stored("query", open_queries(data, context.work).texts)
        return {"data": Artifact("d" * 64, data), "model": Artifact("a" * 64, model)}

    def relevant(self, queries: Rows) -> Rows:
        """Rows of the documents relevant to these queries."""
        return np.asarray(queries * 7919 % self.documents)

    def near(self, documents: Rows) -> Floats:
        """(n, D) a cluster's centre and noise of about the same length."""
        first, second, centres = self._tables
        noise = (first[documents % len(first)] + second[documents % len(second)]) * np.float32(0.5**0.5)
        return np.asarray(centres[documents * 2_654_435_761 % 2**32 % len(centres)] + noise)

    def asked(self, queries: Rows) -> Floats:
        """(n, D) the vector of the query's document and less noise."""
        return np.asarray(self.near(self.relevant(queries)) + np.float32(0.7) * self._tables[1][queries * 31 % 2039])

    @property
    def _encode(self) -> Callable[..., Generator[Floats, None, None]]:
        def encode(
            _: StoredEncoder, shards: Iterable[Sequence[str]], identity: VectorIdentity
        ) -> Generator[Floats, None, None]:
            for some in shards:
                rows = np.array([int(found[0]) for found in map(_NUMBER.search, some) if found], dtype=np.int64)
                vectors = self.asked(rows) if identity.task == "query" else self.near(rows)
                yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

        return encode

    @cached_property
    def _tables(self) -> tuple[Floats, Floats, Floats]:
        """Noise, whose sizes are prime: the sum of one of each is distinct for 8 million rows; and centres."""
        rng, sizes = np.random.default_rng(0), (4093, 2039, max(1, self.documents // 100))
        first, second, centres = (rng.standard_normal((size, self.dims), dtype=np.float32) for size in sizes)
        return first, second, centres


def ids(letter: str) -> Column:
    """A letter and the row."""
    return lambda rows: [f"{letter}{row}" for row in rows.tolist()]


def texts(rows: Rows, words: int) -> list[str]:
    """Texts that begin with their row; common words and rare ones, as in natural language."""
    rng = np.random.default_rng([words, int(rows[0])])
    drawn = np.minimum(rng.zipf(1.3, (len(rows), words)), len(_WORDS) ** 2 - 1)
    found = zip(rows.tolist(), np.char.add(_WORDS[drawn // len(_WORDS)], _WORDS[drawn % len(_WORDS)]), strict=True)
    return [f"{row} {' '.join(some)}" for row, some in found]


def write_table(path: Path, count: int, columns: Mapping[str, Column]) -> None:
    """Write a table of `count` rows, whose columns are made from rows, some at a time."""
    writer = None
    for start in range(0, count, _AT_A_TIME):
        rows = np.arange(start, min(start + _AT_A_TIME, count))
        table = pa.table({name: pa.array(column(rows)) for name, column in columns.items()})
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer:
        writer.close()
