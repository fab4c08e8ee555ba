"""A dataset in the making, and the rows of its tables: every row checked, every id resolved, every fault noted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from embedkit.core.dataset import Dataset
from embedkit.core.records import SPLITS, Corpus, Qrels, Queries
from embedkit.core.spec import Spec
from embedkit.data.metadata import Carried
from embedkit.data.rows import BadRow, Rejects, Row, as_identifier, listed, relevance_of, shown, text_of
from embedkit.data.shelf import Shelf

_USUAL: Final = {  # the first of these that a row has
    "doc_id": ("_id", "id", "doc_id"),
    "query_id": ("_id", "id", "query_id"),
    "judged_query": ("query-id", "query_id"),
    "judged_doc": ("corpus-id", "doc_id"),
    "relevance": ("score", "relevance"),
}


class TableColumns(Spec):
    """Which columns of a corpus, of queries and of judgements hold what; null: those of the usual names.

    The usual names of ids are `_id`, `id`, and `doc_id` or `query_id`; of judgements `query-id` or `query_id`,
    `corpus-id` or `doc_id`, `score` or `relevance`.
    """

    doc_id: str | None = None
    title: str = "title"
    text: str = "text"
    query_id: str | None = None
    query: str = "text"  # of the queries
    judged_query: str | None = None
    judged_doc: str | None = None  # an id, or a list of ids
    relevance: str | None = None
    all_relevant: bool = False  # the judgements have no column of relevance: whatever they list is relevant

    def name(self, values: Mapping[str, Any], what: str) -> str:
        """The column of this row that holds `what`; a `BadRow` if it has none."""
        named = getattr(self, what)
        names = (named,) if named is not None else _USUAL[what]
        if found := next((name for name in names if name in values), None):
            return str(found)
        raise BadRow(f"has no {names[0]!r}; it has {shown(sorted(values))}")


USUAL_COLUMNS: Final = TableColumns()


@dataclass
class Tables:
    """A dataset in the making; its texts are in files of the folder `work`."""

    work: Path
    carried: Carried = field(default_factory=Carried)
    qrels: dict[str, Qrels] = field(default_factory=dict)
    document_classes: dict[str, str] = field(default_factory=dict)  # id -> class, where there is one
    query_classes: dict[str, str] = field(default_factory=dict)
    scores: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)  # split -> query -> document -> score
    repeated: int = 0  # judgements that say again what an earlier one said
    first_metadata: dict[str, int] = field(default_factory=dict)  # of queries of pairs -> a hash of what they have
    other_metadata: int = 0  # rows of a query whose metadata is not that of its first row, which it keeps
    documents: Shelf = field(init=False)  # title, text
    queries: Shelf = field(init=False)  # text

    def __post_init__(self) -> None:
        self.documents = Shelf(self.work / "documents.stream", ("title", "text"))
        self.queries = Shelf(self.work / "queries.stream", ("text",))

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
        found, asked = self.documents.columns(), self.queries.columns()
        qrels = {split: self.qrels[split] for split in SPLITS if self.qrels.get(split)}
        corpus = Corpus(
            found["id"],
            found["title"],
            found["text"],
            _in_order(found["id"], self.document_classes),
            found["metadata"] if self.documents.has_metadata else (),
        )
        queries = Queries(
            asked["id"],
            asked["text"],
            _in_order(asked["id"], self.query_classes),
            asked["metadata"] if self.queries.has_metadata else (),
        )
        return Dataset(corpus, queries, qrels)


def _in_order(ids: Iterable[str], classes: Mapping[str, str]) -> list[str]:
    return [classes.get(key, "") for key in ids] if classes else []


def read_documents(
    tables: Tables,
    rows: Iterable[Row],
    rejects: Rejects,
    class_field: str | None = None,
    columns: TableColumns = USUAL_COLUMNS,
) -> None:
    """Rows of a corpus: id, title and text; one of title and text may be empty or missing."""
    for row in rows:
        try:
            name = columns.name(row.values, "doc_id")
            key = _new_id(row, name, tables.documents)
            title, text = (text_of(row.values, column, default="") for column in (columns.title, columns.text))
            if not title.strip() and not text.strip():
                what = "empty" if columns.text in row.values else "missing"
                raise BadRow(f"{columns.text} is {what}; a document needs title or text")
            classes = class_of(key, row.values.get(class_field) if class_field else None, class_field)
            metadata = tables.carried.of(row.values, (name, columns.title, columns.text, class_field))
        except BadRow as problem:
            _reject(row, problem, columns, "doc_id", tables.documents, rejects)
        else:
            tables.documents.put(key, (title, text), row.where, metadata)
            tables.document_classes |= classes


def read_queries(
    tables: Tables,
    rows: Iterable[Row],
    rejects: Rejects,
    class_field: str | None = None,
    columns: TableColumns = USUAL_COLUMNS,
) -> None:
    """Rows of queries: id and text."""
    for row in rows:
        try:
            name = columns.name(row.values, "query_id")
            key = _new_id(row, name, tables.queries)
            text = filled(text_of(row.values, columns.query), columns.query)
            classes = class_of(key, row.values.get(class_field) if class_field else None, class_field)
            metadata = tables.carried.of(row.values, (name, columns.query, class_field))
        except BadRow as problem:
            _reject(row, problem, columns, "query_id", tables.queries, rejects)
        else:
            tables.queries.put(key, (text,), row.where, metadata)
            tables.query_classes |= classes


def read_judgements(
    tables: Tables, split: str, rows: Iterable[Row], rejects: Rejects, columns: TableColumns = USUAL_COLUMNS
) -> None:
    """Rows of judgements: the ids of a query and of a document, or several, and its relevance; ids must be known."""
    for row in rows:
        try:
            name = columns.name(row.values, "judged_query")
            query, name = as_identifier(row.values[name], name), columns.name(row.values, "judged_doc")
            documents = [as_identifier(value, name) for value in listed(row.values[name])]
            relevance = _relevance(row.values, columns)
            _require(query, tables.queries, "query", "queries")
            for document in documents:
                _require(document, tables.documents, "document", "corpus")
                tables.repeated += document in tables.qrels.get(split, {}).get(query, {})
                tables.judge(split, query, document, relevance)
        except BadRow as problem:
            rejects.add(row, problem)


def _relevance(values: Mapping[str, Any], columns: TableColumns) -> int:
    return 1 if columns.all_relevant else relevance_of(values[columns.name(values, "relevance")])


def _new_id(row: Row, name: str, shelf: Shelf) -> str:
    key = as_identifier(row.values[name], name)
    if (where := shelf.where(key)) is not None:
        raise BadRow(f"id {key!r} is already that of {where}; ids must be unique")
    return key


def _reject(row: Row, problem: BadRow, columns: TableColumns, what: str, shelf: Shelf, rejects: Rejects) -> None:
    """Note a bad row, and its id if it has one."""
    rejects.add(row, problem)
    try:
        name = columns.name(row.values, what)
        key = as_identifier(row.values[name], name)
    except BadRow:
        return
    if key not in shelf:
        shelf.rejected.setdefault(key, row.where)


def _require(key: str, shelf: Shelf, what: str, where: str) -> None:
    if key not in shelf:
        rejected = shelf.rejected.get(key)
        found = f"is not in the {where}" if rejected is None else f"was rejected ({rejected})"
        raise BadRow(f"{what} {key!r} {found}; a judgement needs both")


def class_of(key: str, value: Any, name: str | None) -> dict[str, str]:
    """The class of this id, if it has one."""
    return {} if value is None else {key: as_identifier(value, str(name))}


def filled(text: str, name: str) -> str:
    """The text; a `BadRow` if there is nothing in it."""
    if not text.strip():
        raise BadRow(f"{name} is empty; expected a text")
    return text
