"""The JSON lines that FlagEmbedding (BGE) fine-tunes on."""

from collections.abc import Iterator
from typing import Any, ClassVar, Final, Literal

import pyarrow as pa

from embedkit.exports.format import Example, Format

_TEXTS: Final = pa.list_(pa.string())
_NUMBERS: Final = pa.list_(pa.float64())


class FlagEmbedding(Format):
    """query, pos [text], neg [text]: a line a query, with all its positives and negatives.

    With scores: pos_scores and neg_scores, for its `--knowledge_distillation True`. Its trainer repeats negatives
    where a line has fewer than a group needs, and fails where it has none: such queries are left out.

    Reference: https://github.com/FlagOpen/FlagEmbedding/tree/master/examples/finetune/embedder#2-data-format
    """

    kind: Literal["flagembedding"] = "flagembedding"
    suffixes: ClassVar[tuple[str, ...]] = (".jsonl",)

    prompt: str | None = None  # of queries; goes before the trainer's own `query_instruction_for_retrieval`
    type: str | None = None  # for bge-en-icl: normal, symmetric_class, symmetric_clustering ...

    def layout(self) -> pa.Schema:
        """query, pos, neg, and what is asked for besides."""
        columns = [("query", pa.string()), ("pos", _TEXTS), ("neg", _TEXTS)]
        if self.scores:
            columns += [("pos_scores", _NUMBERS), ("neg_scores", _NUMBERS)]
        columns += [(name, pa.string()) for name in ("prompt", "type") if getattr(self, name) is not None]
        if self.metadata:
            columns += [("query_metadata", pa.string()), ("pos_metadata", _TEXTS), ("neg_metadata", _TEXTS)]
        return pa.schema(columns)

    def rows(self, example: Example) -> Iterator[tuple[Any, ...]]:
        """One."""
        lists = (example.positives, example.negatives)
        row: list[Any] = [example.query.text, *([s.document.full_text for s in some] for some in lists)]
        if self.scores:
            row += [[s.score for s in some] for some in lists]
        row += [text for text in (self.prompt, self.type) if text is not None]
        if self.metadata:
            row += [example.query.metadata, *([s.document.metadata for s in some] for some in lists)]
        yield tuple(row)
