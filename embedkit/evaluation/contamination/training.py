"""The texts that training on a folder of pairs sees, and what they are to each other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embedkit.core.columns import Picked, Strings, places
from embedkit.core.errors import ArtifactError
from embedkit.core.pair_files import check_folder
from embedkit.core.records import Corpus, Queries, open_corpus, open_queries
from embedkit.evaluation.contamination.held import AT_A_TIME, Mask, Rows

Role = Literal["queries", "positives", "negatives"]
ROLES: Final[tuple[Role, ...]] = ("queries", "positives", "negatives")
_PAIRS: Final = 16_384  # rows in memory


class Training:
    """A folder of pairs, opened without reading its texts into memory; `work` is for copies of its tables.

    Its texts are numbered: queries by their row, documents by theirs plus the number of queries. Only those that a row
    of pairs names count, as training sees no others. Raises `DataError` if the folder holds no pairs.
    """

    def __init__(self, folder: Path, work: Path) -> None:
        check_folder(folder, "training pairs are")
        work.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.queries: Queries = open_queries(folder, work)
        self.corpus: Corpus = open_corpus(folder, work)
        self.rows = 0
        self._roles: dict[Role, Mask] = {
            "queries": np.zeros(len(self.queries), dtype=np.bool_),
            "positives": np.zeros(len(self.corpus), dtype=np.bool_),
            "negatives": np.zeros(len(self.corpus), dtype=np.bool_),
        }
        for batch in _batches(folder / "pairs.parquet", ["query_id", "positives", "negatives"]):
            self.rows += len(batch)
            self._mark("queries", self.queries.ids, batch.column("query_id"))
            for role in ROLES[1:]:
                self._mark(role, self.corpus.ids, batch.column(role).flatten())

    def __len__(self) -> int:
        return len(self.queries) + len(self.corpus)

    def having(self, role: Role) -> Mask:
        """(n,) which texts play this role."""
        mask = np.zeros(len(self), dtype=np.bool_)
        part = slice(None, len(self.queries)) if role == "queries" else slice(len(self.queries), None)
        mask[part] = self._roles[role]
        return mask

    def seen(self) -> Rows:
        """Numbers of all texts that play a role."""
        return np.flatnonzero(np.any([self.having(role) for role in ROLES], axis=0))

    def batches(self) -> Iterator[tuple[Rows, list[str]]]:
        """Numbers and texts of all that play a role, in order."""
        seen, first = self.seen(), len(self.queries)
        queries, documents = seen[seen < first], seen[seen >= first]
        for numbers, texts in (
            (queries, Picked(self.queries.texts, queries)),
            (documents, Picked(self.corpus.documents(), documents - first)),
        ):
            for start in range(0, len(numbers), AT_A_TIME):
                yield numbers[start : start + AT_A_TIME], list(texts[start : start + AT_A_TIME])

    def id(self, number: int) -> str:
        """The id of a text."""
        first = len(self.queries)
        return self.queries.ids[number] if number < first else self.corpus.ids[number - first]

    def text(self, number: int) -> str:
        """A text."""
        first = len(self.queries)
        return self.queries.texts[number] if number < first else self.corpus.documents()[number - first]

    def pairs(self) -> Iterator[tuple[Rows, Rows]]:
        """Numbers of the query and of the document of every (query, positive), some rows at a time."""
        for batch in _batches(self.folder / "pairs.parquet", ["query_id", "positives"]):
            lists = batch.column("positives")
            own = places(self.queries.ids, Strings(batch.column("query_id")))
            documents = places(self.corpus.ids, Strings(lists.flatten().cast(pa.string())))
            queries = np.repeat(own, np.asarray(lists.value_lengths().fill_null(0)))
            known = (queries >= 0) & (documents >= 0)
            yield queries[known], documents[known] + len(self.queries)

    def _mark(self, role: Role, ids: Any, wanted: pa.Array) -> None:
        rows = places(ids, Strings(wanted.cast(pa.string())))
        self._roles[role][rows[rows >= 0]] = True


def _batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        yield from pq.ParquetFile(path).iter_batches(batch_size=_PAIRS, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{path}: cannot be read ({error})") from None
