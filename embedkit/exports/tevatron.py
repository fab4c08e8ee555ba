"""What Tevatron trains on: passages in the rows, or their ids and a corpus beside."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, Self

import pyarrow as pa
from pydantic import model_validator

from embedkit.exports.format import Example, Format, Scored

_IDS: Final = pa.list_(pa.string())


class Tevatron(Format):
    """query_id, query, positive_passages and negative_passages [docid, title, text]: a row a query.

    With scores: `score` in each passage, which its distillation reads. With ids: query_id, query_text,
    positive_document_ids, negative_document_ids, and a corpus of docid and text, title and text joined, beside.
    Its trainer fails where a row has no negative: such queries are left out.

    Reference: https://github.com/texttron/tevatron/blob/main/docs/datasets.md
    """

    kind: Literal["tevatron"] = "tevatron"
    ids: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.ids and self.scores:
            raise ValueError("Tevatron has no place for scores in rows of ids; write passages, or no scores")
        return self

    def layout(self) -> pa.Schema:
        """As its reader names them."""
        more = [("query_metadata", pa.string())] if self.metadata else []
        if self.ids:
            texts = [("query_id", pa.string()), ("query_text", pa.string())]
            return pa.schema([*texts, ("positive_document_ids", _IDS), ("negative_document_ids", _IDS), *more])
        fields = [(name, pa.string()) for name in ("docid", "title", "text")]
        fields += [("score", pa.float64())] if self.scores else []
        fields += [("metadata", pa.string())] if self.metadata else []
        passages = pa.list_(pa.struct(fields))
        texts = [("query_id", pa.string()), ("query", pa.string())]
        return pa.schema([*texts, ("positive_passages", passages), ("negative_passages", passages), *more])

    def rows(self, example: Example) -> Iterator[tuple[Any, ...]]:
        """One."""
        query = example.query
        lists = [self._listed(some) for some in (example.positives, example.negatives)]
        yield (query.id, query.text, *lists, *([query.metadata] if self.metadata else []))

    def tables(self) -> Mapping[str, tuple[str, str]]:
        """With ids, the corpus."""
        return {"documents": ("docid", "text")} if self.ids else {}

    def _listed(self, some: Sequence[Scored]) -> list[Any]:
        return [scored.document.id if self.ids else self._passage(scored) for scored in some]

    def _passage(self, scored: Scored) -> dict[str, Any]:
        document = scored.document
        passage: dict[str, Any] = {"docid": document.id, "title": document.title, "text": document.text}
        if self.scores:
            passage["score"] = scored.score
        if self.metadata:
            passage["metadata"] = document.metadata
        return passage
