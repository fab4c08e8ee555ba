"""A dataset in the making, and the rows of BEIR tables: every row checked, every id resolved, every fault noted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from embedkit.core.records import SPLITS, Corpus, Dataset, Qrels, Queries
from embedkit.data.rows import BadRow, Rejects, Row, as_identifier, identifier, relevance_of, text_of


@dataclass
class Tables:
    """A dataset in the making, and where each of its ids was first seen."""

    documents: dict[str, tuple[str, str]] = field(default_factory=dict)  # id -> title, text
    queries: dict[str, str] = field(default_factory=dict)
    qrels: dict[str, Qrels] = field(default_factory=dict)
    document_classes: dict[str, str] = field(default_factory=dict)  # id -> class, where there is one
    query_classes: dict[str, str] = field(default_factory=dict)
    scores: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)  # split -> query -> document -> score
    document_rows: dict[str, str] = field(default_factory=dict)  # id -> where, rejected rows included
    query_rows: dict[str, str] = field(default_factory=dict)
    repeated: int = 0  # judgements that say again what an earlier one said

    def judge(self, split: str, query: str, document: str, relevance: int) -> None:
        """Note one judgement; a `BadRow` if an earlier one says otherwise."""
        judged = self.qrels.setdefault(split, {}).setdefault(query, {})
        earlier = judged.setdefault(document, relevance)
        if earlier != relevance:
            raise BadRow(
                f"query {query!r} and document {document!r} are judged {relevance} here and {earlier} before; "
                "a pair has one relevance"
            )

    def dataset(self) -> Dataset:
        """What was read, in the order it was read."""
        titles, texts = [t for t, _ in self.documents.values()], [t for _, t in self.documents.values()]
        qrels = {split: self.qrels[split] for split in SPLITS if self.qrels.get(split)}
        corpus = Corpus(list(self.documents), titles, texts, _in_order(self.documents, self.document_classes))
        queries = Queries(list(self.queries), list(self.queries.values()), _in_order(self.queries, self.query_classes))
        return Dataset(corpus, queries, qrels)


def _in_order(ids: Iterable[str], classes: Mapping[str, str]) -> list[str]:
    return [classes.get(key, "") for key in ids] if classes else []


def read_documents(tables: Tables, rows: Iterable[Row], rejects: Rejects, class_field: str | None = None) -> None:
    """Corpus rows: `_id` (or `id`), `title`, `text`; one of title and text may be empty or missing."""
    for row in rows:
        try:
            key = _new_id(row, tables.document_rows)
            title, text = text_of(row.values, "title", default=""), text_of(row.values, "text", default="")
            if not title.strip() and not text.strip():
                what = "empty" if "text" in row.values else "missing"
                raise BadRow(f"text is {what}; a document needs title or text")
            classes = class_of(key, row.values.get(class_field) if class_field else None, class_field)
        except BadRow as problem:
            rejects.add(row, problem)
        else:
            tables.documents[key] = (title, text)
            tables.document_classes |= classes


def read_queries(tables: Tables, rows: Iterable[Row], rejects: Rejects, class_field: str | None = None) -> None:
    """Query rows: `_id` (or `id`) and `text`."""
    for row in rows:
        try:
            key = _new_id(row, tables.query_rows)
            text = filled(text_of(row.values, "text"), "text")
            classes = class_of(key, row.values.get(class_field) if class_field else None, class_field)
        except BadRow as problem:
            rejects.add(row, problem)
        else:
            tables.queries[key] = text
            tables.query_classes |= classes


def read_judgements(tables: Tables, split: str, rows: Iterable[Row], rejects: Rejects) -> None:
    """Qrel rows: `query-id`, `corpus-id`, `score`; both ids must have been read."""
    for row in rows:
        try:
            query, document = identifier(row.values, "query-id"), identifier(row.values, "corpus-id")
            relevance = relevance_of(row.values.get("score"))
            _require(query, tables.queries, tables.query_rows, "query", "queries")
            _require(document, tables.documents, tables.document_rows, "document", "corpus")
            tables.repeated += document in tables.qrels.get(split, {}).get(query, {})
            tables.judge(split, query, document, relevance)
        except BadRow as problem:
            rejects.add(row, problem)


def _new_id(row: Row, seen: dict[str, str]) -> str:
    key = identifier(row.values, "_id", "id")
    if key in seen:
        raise BadRow(f"id {key!r} is already that of {seen[key]}; ids must be unique")
    seen[key] = row.where
    return key


def _require(key: str, usable: Mapping[str, Any], rows: Mapping[str, str], what: str, where: str) -> None:
    if key not in usable:
        found = f"was rejected ({rows[key]})" if key in rows else f"is not in the {where}"
        raise BadRow(f"{what} {key!r} {found}; a judgement needs both")


def class_of(key: str, value: Any, name: str | None) -> dict[str, str]:
    """The class of this id, if it has one."""
    return {} if value is None else {key: as_identifier(value, str(name))}


def filled(text: str, name: str) -> str:
    """The text; a `BadRow` if there is nothing in it."""
    if not text.strip():
        raise BadRow(f"{name} is empty; expected a text")
    return text
