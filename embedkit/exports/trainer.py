"""The four formats of sentence-transformers' trainers, as `mine_hard_negatives` names and lays them out.

With `ids`, columns hold ids in place of texts (`query_id`, `positive_id`, `negative_ids` ...), and the texts stand once
each in tables of their own: what `sentence_transformers.util.resolve_ids` joins. It turns each format with `ids` into
the one without; for labeled-list, with `output_format="lists"`.

Scores are float64 and labels int64, as there.

Reference: https://sbert.net/docs/package_reference/util.html, mine_hard_negatives and resolve_ids
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, Literal, Self

import pyarrow as pa
from pydantic import model_validator

from embedkit.exports.format import Document, Example, Format, Query

_STRINGS: Final = pa.list_(pa.string())
_NEGATIVE_IDS: Final = ("negative_ids", _STRINGS)
_SCORES: Final = ("scores", pa.list_(pa.float64()))
_LABELS: Final = ("labels", pa.list_(pa.int64()))


class TrainerFormat(Format):
    """Columns of texts or their ids, perhaps one of scores or labels, and no other: losses read them by position."""

    ids: bool = False  # ids in place of texts, and a table of queries and one of documents beside

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.metadata and not self.ids:
            raise ValueError("trainers take every column for a text; metadata goes into the tables that ids come with")
        return self

    def tables(self) -> Mapping[str, tuple[str, str]]:
        """With ids, both."""
        return {"queries": ("query_id", "text"), "documents": ("doc_id", "text")} if self.ids else {}

    def one(self, name: str) -> tuple[str, pa.DataType]:
        """A column with one text, or its id, a row."""
        return (f"{name}_id" if self.ids else name), pa.string()

    def value(self, what: Query | Document) -> str:
        """A text, or its id."""
        if self.ids:
            return what.id
        return what.text if isinstance(what, Query) else what.full_text


class Triplet(TrainerFormat):
    """query, positive, negative: a row for each positive and each negative of a query.

    With scores: `scores` [positive's, negative's].
    """

    kind: Literal["triplet"] = "triplet"

    def layout(self) -> pa.Schema:
        """Three columns of texts or ids, and scores if they are asked for."""
        texts = [self.one(name) for name in ("query", "positive", "negative")]
        return pa.schema([*texts, *([_SCORES] if self.scores else [])])

    def rows(self, example: Example) -> Iterator[tuple[Any, ...]]:
        """Positives × negatives of them."""
        for positive in example.positives:
            for negative in example.negatives:
                row = self.value(example.query), self.value(positive.document), self.value(negative.document)
                yield (*row, [positive.score, negative.score]) if self.scores else row


class NTuple(TrainerFormat):
    """query, positive, negative_1 ... negative_n: a row for each positive of a query that has n negatives.

    With scores: `scores` [positive's, negatives' ...]. n is `negatives`, or the most that any query has; queries with
    fewer are left out. With ids: query_id, positive_id, negative_ids.
    """

    kind: Literal["n-tuple"] = "n-tuple"
    rectangular: ClassVar[bool] = True

    def layout(self) -> pa.Schema:
        """query, positive, a column for each negative, or one of lists of ids, and scores if they are asked for."""
        width = self.negatives or 0
        negatives = [_NEGATIVE_IDS] if self.ids else [(f"negative_{i + 1}", pa.string()) for i in range(width)]
        scores = [_SCORES] if self.scores else []
        return pa.schema([self.one("query"), self.one("positive"), *negatives, *scores])

    def rows(self, example: Example) -> Iterator[tuple[Any, ...]]:
        """As many as there are positives."""
        negatives = [self.value(negative.document) for negative in example.negatives]
        for positive in example.positives:
            row = self.value(example.query), self.value(positive.document)
            columns = [negatives] if self.ids else negatives
            scores = [positive.score, *(negative.score for negative in example.negatives)]
            yield (*row, *columns, scores) if self.scores else (*row, *columns)


class LabeledPair(TrainerFormat):
    """query, document, label: a row for each positive (1), then for each negative (0) of a query.

    With scores: `score` in place of `label`. Queries without negatives have rows of positives.
    """

    kind: Literal["labeled-pair"] = "labeled-pair"
    lone_positives: ClassVar[bool] = True

    def layout(self) -> pa.Schema:
        """query, document, and the score or the label."""
        judgement = ("score", pa.float64()) if self.scores else ("label", pa.int64())
        return pa.schema([self.one("query"), self.one("document"), judgement])

    def rows(self, example: Example) -> Iterator[tuple[Any, ...]]:
        """Positives + negatives of them."""
        query = self.value(example.query)
        for label, documents in ((1, example.positives), (0, example.negatives)):
            for scored in documents:
                yield query, self.value(scored.document), scored.score if self.scores else label


class LabeledList(TrainerFormat):
    """query, documents, labels: a row for each positive of a query, with its negatives after it; labels 1, 0, 0 ...

    With scores: `scores` in place of `labels`. Lists may differ in length.
    """

    kind: Literal["labeled-list"] = "labeled-list"

    def layout(self) -> pa.Schema:
        """query, documents, and scores or labels."""
        documents = ("document_ids" if self.ids else "documents", _STRINGS)
        return pa.schema([self.one("query"), documents, _SCORES if self.scores else _LABELS])

    def rows(self, example: Example) -> Iterator[tuple[Any, ...]]:
        """As many as there are positives."""
        for positive in example.positives:
            listed = [positive, *example.negatives]
            labels = [1] + [0] * len(example.negatives)
            yield (
                self.value(example.query),
                [self.value(scored.document) for scored in listed],
                [scored.score for scored in listed] if self.scores else labels,
            )
