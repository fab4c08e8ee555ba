"""Rows of pair files: a query with its documents in every row."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from math import floor
from typing import Any, Final, Literal, NamedTuple

from pydantic import model_validator

from embedkit.core.records import SPLITS
from embedkit.core.spec import Spec
from embedkit.data.assemble import Tables, class_of, filled
from embedkit.data.rows import (
    BadRow,
    Rejects,
    Row,
    as_identifier,
    as_text,
    identifier,
    listed,
    score_of,
    shown,
    text_of,
)
from embedkit.data.shelf import Shelf

SPLIT_NAMES: Final = {**{s: s for s in SPLITS}, "validation": "dev", "valid": "dev", "val": "dev"}
_OPTIONAL: Final = ("negative", "title", "query_id", "positive_id", "negative_id", "split")


class Columns(Spec):
    """Which columns of a pair file hold what. A cell of documents is one text, or a list of texts.

    Optional columns of the usual names are read where a row has them, unless they are its query or its positives.
    Those of other names must be there; null reads none. All other columns are metadata of the query.

    With a `score`, a judged similarity say, the documents of `positive` are those a query was compared with, whatever
    came of it, and training needs a loss that learns scores. Relevance in an evaluation is the score rounded to a whole
    number.
    """

    query: str = "query"
    positive: str = "positive"
    negative: str | None = "negative"  # documents known not to be relevant
    title: str | None = "title"  # of the positives
    query_id: str | None = "query_id"  # without ids, equal texts are one query, or one document
    positive_id: str | None = "positive_id"
    negative_id: str | None = "negative_id"
    split: str | None = "split"  # says train, dev or test; without it a row is of its file's split, or train
    score: str | None = None  # numbers, one for each document of `positive`
    query_class: str | None = None  # classes: strings or whole numbers, null where there is none
    positive_class: str | None = None  # one for each document
    negative_class: str | None = None

    @model_validator(mode="after")
    def _scored_or_judged(self) -> "Columns":
        if self.score is not None and "negative" in self.model_fields_set and self.negative is not None:
            raise ValueError("has both score and negative; with scores all documents of a query are in `positive`")
        return self

    def of(self, values: Mapping[str, Any]) -> "Columns":
        """These columns without the optional ones that this row does not have."""
        usual = [name for name in _OPTIONAL if getattr(self, name) == name]
        absent = [name for name in usual if name not in values or name in (self.query, self.positive)]
        absent += ["negative"] if self.score is not None else []
        return self.model_copy(update=dict.fromkeys(absent)) if absent else self


def read_pair_rows(tables: Tables, split: str, rows: Iterable[Row], columns: Columns, rejects: Rejects) -> None:
    """Rows of a query with its positives (relevance 1) and negatives (relevance 0), or with scored documents."""
    for row in rows:
        try:
            _read_pair(tables, split, row, columns)
        except BadRow as problem:
            rejects.add(row, problem)


class _Document(NamedTuple):
    title: str
    text: str
    classes: Mapping[str, str]  # its own, by its id, if it has one
    score: float | None


def _read_pair(tables: Tables, split: str, row: Row, columns: Columns) -> None:
    values = row.values
    columns = columns.of(values)
    text = filled(text_of(values, columns.query), columns.query)
    query = identifier(values, columns.query_id) if columns.query_id else _id_of(text)
    split = _split_of(values, columns.split, split) if columns.split else split
    (label,) = _cells(values, columns.query_class, 1, columns.query)
    query_class = class_of(query, label, columns.query_class)
    positives = _documents_of(values, columns, "positive")
    if not positives:
        raise BadRow(f"{columns.positive} is empty; a query needs at least one positive")
    negatives = _documents_of(values, columns, "negative")
    if both := positives.keys() & negatives.keys():
        raise BadRow(f"document {shown(min(both))} is a positive and a negative of the same query")
    documents = positives | negatives
    scores = {key: document.score for key, document in positives.items() if document.score is not None}
    _agree(scores, tables.scores.get(split, {}).get(query, {}))
    judged = tables.qrels.get(split, {}).get(query, {})
    wanted = {key: floor(scores[key] + 0.5) if key in scores else int(key in positives) for key in documents}
    if clash := [key for key, relevance in wanted.items() if judged.get(key, relevance) != relevance]:
        raise BadRow(f"document {shown(clash[0])} is a positive of this query in one row and a negative in another")
    _same(query, (text,), tables.queries, "query")
    _one_class(query_class, tables.query_classes, "query")
    for key, document in documents.items():
        _same(key, document[:2], tables.documents, "document")
        _one_class(document.classes, tables.document_classes, "document")
    _put_query(tables, query, text, row, columns)
    tables.query_classes |= query_class
    if scores:
        tables.scores.setdefault(split, {}).setdefault(query, {}).update(scores)
    for key, document in documents.items():
        if key not in tables.documents:
            tables.documents.put(key, document[:2], row.where)
        tables.document_classes |= document.classes
        tables.judge(split, query, key, wanted[key])


def _put_query(tables: Tables, query: str, text: str, row: Row, columns: Columns) -> None:
    """The query with the row's other fields, if it is new; else it keeps those of its first row."""
    metadata = tables.carried.of(row.values, [column for _, column in columns])
    if query not in tables.queries:
        tables.queries.put(query, (text,), row.where, metadata)
        if metadata:
            tables.first_metadata[query] = hash(metadata)
    elif hash(metadata) != tables.first_metadata.get(query, hash("")):
        tables.other_metadata += 1


def _documents_of(
    values: Mapping[str, Any], columns: Columns, role: Literal["positive", "negative"]
) -> dict[str, _Document]:
    """The documents in a cell by their ids."""
    column = getattr(columns, role)
    if column is None:
        return {}
    cell = _required(values, column)
    texts = [as_text(text, column) for text in listed(cell)]
    title_column, score_column = (columns.title, columns.score) if role == "positive" else (None, None)
    id_column, class_column = getattr(columns, f"{role}_id"), getattr(columns, f"{role}_class")
    found = [_cells(values, name, len(texts), column) for name in (title_column, id_column, class_column, score_column)]
    documents: dict[str, _Document] = {}
    for text, title_cell, id_cell, class_cell, score_cell in zip(texts, *found, strict=True):
        title = as_text(title_cell or "", str(title_column))
        filled(title + text, column)
        key = as_identifier(id_cell, id_column) if id_column else _id_of(f"{title}\0{text}" if title else text)
        score = score_of(score_cell, score_column) if score_column else None
        document = _Document(title, text, class_of(key, class_cell, class_column), score)
        if documents.setdefault(key, document) != document:
            raise BadRow(f"document {shown(key)} is in {column} twice, and not twice the same; once is enough")
    return documents


def _required(values: Mapping[str, Any], name: str) -> Any:
    if name not in values:
        raise BadRow(f"has no {name!r}; it has {shown(sorted(values))}")
    return values[name]


def _cells(values: Mapping[str, Any], name: str | None, count: int, beside: str) -> list[Any]:
    """The entries of another column, one for each of `count` documents; None where there is no such column."""
    cells = listed(_required(values, name)) if name is not None and (count or name in values) else []
    if cells and len(cells) != count:
        raise BadRow(f"{name} has {len(cells)} entries and {beside} {count}; expected one for each")
    return cells or [None] * count


def _one_class(classes: Mapping[str, str], known: Mapping[str, str], what: str) -> None:
    for key, label in classes.items():
        if known.get(key, label) != label:
            raise BadRow(f"the class of {what} {key!r} is {label!r} here and {known[key]!r} before; a text has one")


def _agree(scores: Mapping[str, float], known: Mapping[str, float]) -> None:
    for key, score in scores.items():
        if known.get(key, score) != score:
            raise BadRow(f"document {shown(key)} scores {score} here and {known[key]} before; a pair has one score")


def _split_of(values: Mapping[str, Any], column: str, around: str) -> str:
    """The split a row says it is of; rows of a held-out split are of no other."""
    if column not in values:
        raise BadRow(f"has no {column!r}; it has {shown(sorted(values))}")
    name = values[column]
    if not isinstance(name, str) or name not in SPLIT_NAMES:
        raise BadRow(f"{column} is {shown(name)}; expected one of {', '.join(SPLIT_NAMES)}")
    if around not in ("train", SPLIT_NAMES[name]):
        raise BadRow(f"{column} is {name!r} in rows of the {around} split; `columns: {{split: null}}` ignores it")
    return SPLIT_NAMES[name]


def _same(key: str, texts: tuple[str, ...], shelf: Shelf, what: str) -> None:
    if key in shelf and not shelf.holds(key, texts):
        raise BadRow(f"{what} id {key!r} has another text than in {shelf.where(key)}; one id is one {what}")


def _id_of(text: str) -> str:
    """An id that depends on the text alone."""
    return sha256(text.encode()).hexdigest()[:16]
