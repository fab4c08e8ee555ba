"""Reranking of given candidates, on files of one's own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from embedkit.core.errors import DataError
from embedkit.core.spec import LocalPath
from embedkit.core.stage import Artifact
from embedkit.evaluation.tables import (
    Cell,
    Columns,
    identifier,
    identifiers,
    read_columns,
    string,
    text,
    texts,
    whole,
    wholes,
)
from embedkit.evaluation.tasks.base import AbsTask, Task


@dataclass
class Lists:
    """Queries, documents, and of every query its candidates and which of them are relevant."""

    documents: dict[str, tuple[str, str]] = field(default_factory=dict)  # doc_id -> title, text
    queries: dict[str, str] = field(default_factory=dict)  # query_id -> text
    candidates: dict[str, list[str]] = field(default_factory=dict)  # query_id -> doc_ids
    relevance: dict[str, dict[str, int]] = field(default_factory=dict)  # query_id -> doc_id -> relevance


class RerankingTask(Task):
    """Every query's own candidates, ordered by the model; scored by mean average precision.

    `path` is one of

    - a JSONL or Parquet file with a row a query: its text and the lists `positives` and `negatives`, or the lists
      `candidates` (texts) and `relevance` (whole numbers);
    - a BEIR folder (corpus, queries, qrels/<split>) with the table top_ranked: query-id and the list corpus-ids.
      Without that table a query's candidates are the documents judged for it, relevant or not.
    """

    kind: Literal["reranking"] = "reranking"
    path: LocalPath
    split: str = "test"  # of a folder
    query: str = "query"  # names of a file's columns
    positives: str = "positives"
    negatives: str = "negatives"
    candidates: str = "candidates"
    relevance: str = "relevance"

    def open(self, inputs: Mapping[str, Artifact], work: Path) -> AbsTask:
        """mteb's retrieval task with the candidates as its `top_ranked`."""
        lists = read_folder(self.path, self.split) if self.path.is_dir() else self._read_file()
        if not any(_is_a_choice(lists, query) for query in lists.candidates):
            raise DataError(f"{self.path}: no query has candidates of which some are relevant and some are not")
        from embedkit.evaluation.local import reranking_task

        return reranking_task(lists.documents, lists.queries, lists.relevance, lists.candidates)

    def _read_file(self) -> Lists:
        """Candidates of a query are documents of its own, also where another query has the same text."""
        given = {self.positives: texts, self.negatives: texts, self.candidates: texts, self.relevance: wholes}
        columns = read_columns(self.path, {self.query: text}, optional=given)
        if self.candidates not in columns and self.positives not in columns:
            raise DataError(
                f"{self.path}: has neither {self.positives!r} and {self.negatives!r} nor {self.candidates!r} and "
                f"{self.relevance!r}"
            )
        lists = Lists()
        for row, query in enumerate(columns[self.query]):
            lists.queries[f"q{row}"] = query
            judged = dict(self._judged(columns, row))
            ids = [f"q{row}-d{i:05d}" for i in range(len(judged))]
            lists.documents |= {key: ("", document) for key, document in zip(ids, judged, strict=True)}
            lists.candidates[f"q{row}"] = ids
            lists.relevance[f"q{row}"] = dict(zip(ids, judged.values(), strict=True))
        return lists

    def _judged(self, columns: Columns, row: int) -> Iterator[tuple[str, int]]:
        """Candidates of a row and their relevance. Raises `DataError` where a text has two."""
        if self.candidates in columns:
            documents, relevance = columns[self.candidates][row], columns.get(self.relevance, [[]] * (row + 1))[row]
            if len(documents) != len(relevance):
                raise DataError(
                    f"{self.path} row {row + 1}: {len(documents)} {self.candidates} but {len(relevance)} numbers in "
                    f"{self.relevance}; expected one for each"
                )
            found = list(zip(documents, relevance, strict=True))
        else:
            negatives = columns[self.negatives][row] if self.negatives in columns else []
            found = [*((d, 1) for d in columns[self.positives][row]), *((d, 0) for d in negatives)]
        seen: dict[str, int] = {}
        for document, relevance in found:
            if seen.setdefault(document, relevance) != relevance:
                raise DataError(f"{self.path} row {row + 1}: {document[:40]!r} is both relevant and not")
        return iter(seen.items())


def read_folder(folder: Path, split: str) -> Lists:
    """Candidates from a BEIR folder."""
    corpus = _table(folder, "corpus", {"_id": identifier, "text": string}, {"title": string})
    queries = _table(folder, "queries", {"_id": identifier, "text": text}, {})
    judged = _table(folder, f"qrels/{split}", {"query-id": identifier, "corpus-id": identifier, "score": whole}, {})
    titles = corpus.get("title", [""] * len(corpus["_id"]))
    documents = dict(zip(corpus["_id"], zip(titles, corpus["text"], strict=True), strict=True))
    asked = dict(zip(queries["_id"], queries["text"], strict=True))
    lists = Lists(documents)
    for query, document, relevance in zip(judged["query-id"], judged["corpus-id"], judged["score"], strict=True):
        lists.relevance.setdefault(query, {})[document] = relevance
    ranked = _ranked(folder)
    for query, judgements in lists.relevance.items():
        if query not in asked:
            raise DataError(f"{folder}: query {query!r} is judged in qrels/{split} but is not among the queries")
        lists.queries[query] = asked[query]
        lists.candidates[query] = ranked.get(query, []) if ranked is not None else list(judgements)
        if not lists.candidates[query]:
            raise DataError(f"{folder}: query {query!r} has no candidates in top_ranked")
        if unknown := next((d for d in lists.candidates[query] if d not in documents), None):
            raise DataError(f"{folder}: candidate {unknown!r} of query {query!r} is not among the documents")
    return lists


def _ranked(folder: Path) -> dict[str, list[str]] | None:
    """Candidates of each query, or None if there is no such table."""
    if _find(folder, "top_ranked") is None:
        return None
    rows = _table(folder, "top_ranked", {"query-id": identifier, "corpus-ids": identifiers}, {})
    return {q: list(dict.fromkeys(d)) for q, d in zip(rows["query-id"], rows["corpus-ids"], strict=True)}


def _table(folder: Path, name: str, wanted: Mapping[str, Cell], optional: Mapping[str, Cell]) -> Columns:
    path = _find(folder, name)
    if path is None:
        raise DataError(f"{folder}: has no {name}.jsonl (nor .tsv, .parquet); expected a BEIR folder")
    return read_columns(path, wanted, optional=optional)


def _find(folder: Path, name: str) -> Path | None:
    return next((p for suffix in (".jsonl", ".tsv", ".parquet") if (p := folder / f"{name}{suffix}").is_file()), None)


def _is_a_choice(lists: Lists, query: str) -> bool:
    relevant = [lists.relevance[query].get(document, 0) > 0 for document in lists.candidates[query]]
    return any(relevant) and not all(relevant)
