"""From a pairs folder to examples: ids are looked up, texts read from a memory-mapped copy when they are written."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.columns import places
from embedkit.core.errors import DataError
from embedkit.core.pair_files import pair_batches
from embedkit.core.progress import Advance
from embedkit.core.records import open_corpus, open_queries
from embedkit.exports.choice import Chosen, choose
from embedkit.exports.format import Document, Example, Format, Query, Scored

_LOOKED_UP: Final = 4096  # queries whose ids are looked up at once
_GROUP: Final = 512  # queries whose texts are in memory at once
_TABLE_GROUP: Final = 4096  # rows of a table of texts that are in memory at once

Used = NDArray[np.bool_]


class Examples:
    """The examples of a pairs folder for a format. Iterate once: `counts` then has what was left out, by reason, and
    `used` which rows of corpus and queries were named."""

    def __init__(self, folder: Path, form: Format, work: Path) -> None:
        self.folder, self.form = folder, form
        self.corpus, self.queries = open_corpus(folder, work), open_queries(folder, work)
        self.counts: Counter[str] = Counter()
        self.used: Mapping[str, Used] = {
            "queries": np.zeros(len(self.queries), dtype=bool),
            "documents": np.zeros(len(self.corpus), dtype=bool),
        }

    def groups(self, advance: Advance) -> Iterator[list[Example]]:
        """Examples in the order of pairs.parquet, some hundred at a time.

        Raises `DataError` if a row names a query or document that is not there.
        """
        for pairs in pair_batches(self.folder, rows=_LOOKED_UP):
            chosen = [found for pair in pairs if (found := choose(pair, self.form, self.counts)) is not None]
            queries = self._rows("queries", self.queries.ids, (one.query_id for one in chosen))
            documents = self._rows("documents", self.corpus.ids, (id_ for one in chosen for id_ in one.documents))
            for start in range(0, len(chosen), _GROUP):
                yield list(self._examples(chosen[start : start + _GROUP], queries, documents))
            advance(len(pairs))

    def table(self, name: str) -> Iterator[list[tuple[str, ...]]]:
        """Id, text and perhaps metadata of the queries or documents that were named, in the order of their file."""
        used = np.flatnonzero(self.used[name])
        for start in range(0, len(used), _TABLE_GROUP):
            yield [self._texts(name, int(row)) for row in used[start : start + _TABLE_GROUP]]

    def _texts(self, name: str, row: int) -> tuple[str, ...]:
        if name == "documents":
            id_, text, metadata = self.corpus.ids[row], self.corpus.documents()[row], self.corpus.metadata
        else:
            id_, text, metadata = self.queries.ids[row], self.queries.texts[row], self.queries.metadata
        return (id_, text, _entry(metadata, row)) if self.form.metadata else (id_, text)

    def _rows(self, name: str, ids: Sequence[str], wanted: Iterable[str]) -> dict[str, int]:
        unique = list(dict.fromkeys(wanted))
        rows = places(ids, unique)
        if (rows < 0).any():
            missing = unique[int(np.argmax(rows < 0))]
            table = "corpus.parquet" if name == "documents" else "queries.parquet"
            raise DataError(f"{self.folder / 'pairs.parquet'}: names {missing!r}, which {table} does not have")
        self.used[name][rows] = True
        return dict(zip(unique, rows.tolist(), strict=True))

    def _examples(
        self, chosen: Sequence[Chosen], queries: Mapping[str, int], documents: Mapping[str, int]
    ) -> Iterator[Example]:
        named = {id_ for one in chosen for id_ in one.documents}
        found = {id_: self._document(id_, documents[id_]) for id_ in named}
        for one in chosen:
            row = queries[one.query_id]
            yield Example(
                Query(one.query_id, self.queries.texts[row], _entry(self.queries.metadata, row)),
                [Scored(found[id_], score) for id_, score in one.positives],
                [Scored(found[id_], score) for id_, score in one.negatives],
            )

    def _document(self, id_: str, row: int) -> Document:
        if self.form.tables():
            return Document(id_)
        corpus = self.corpus
        return Document(id_, corpus.titles[row], corpus.texts[row], _entry(corpus.metadata, row))


def _entry(column: Sequence[str], row: int) -> str:
    return column[row] if column else ""
