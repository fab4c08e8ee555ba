"""What a mined set shares with sets that models are evaluated on: the same texts, or nearly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from embedkit.core.columns import Strings, places
from embedkit.core.progress import Progress, silent
from embedkit.core.runs import Sets
from embedkit.core.shingles import shingles
from embedkit.core.text import normalised
from embedkit.measures.sets import SetIndex, nearly_equal
from embedkit.mining.audit.tables import document_ids, pair_blocks, texts

NEAR: Final = 0.9
_EXAMPLES: Final = 5
_LONG: Final = 160

Role = Literal["queries", "positives", "negatives"]


@dataclass(frozen=True)
class Held:
    """A set that models are evaluated on: its queries, and the documents judged relevant to any."""

    name: str
    query_ids: Sequence[str]
    queries: Sequence[str]  # texts
    doc_ids: Sequence[str]
    documents: Sequence[str]  # texts


@dataclass(frozen=True)
class Twin:
    """Where a text was found again."""

    id: str
    similarity: float
    same: bool = False  # not only nearly


class Texts:
    """Finds the text that is the same as a given one (`normalised` says so), or whose set of three-word shingles has
    a Jaccard similarity of at least `near` with its. By an inverted index: nothing is missed, nothing is guessed.
    """

    def __init__(self, ids: Sequence[str], texts: Sequence[str], *, near: float = NEAR) -> None:
        self.ids, self.near, self._same = ids, near, dict[str, int]()
        for row, text in enumerate(texts):
            self._same.setdefault(normalised(text), row)
        self._index = SetIndex(Sets.of([shingles(text) for text in texts]))

    def find(self, text: str) -> Twin | None:
        """The same text, else the most similar one that is near enough, the first of equals."""
        if (same := self._same.get(normalised(text))) is not None:
            return Twin(self.ids[same], 1.0, same=True)
        near = nearly_equal(self._index, Sets.of([shingles(text)]), self.near)
        if not len(near.rows):
            return None
        best = int(near.values.argmax())
        return Twin(self.ids[int(near.rows[best])], float(near.values[best]))


def overlap(
    folder: Path, held: Sequence[Held], *, near: float = NEAR, progress: Progress = silent
) -> list[dict[str, Any]]:
    """For each set, how many of the mined set's queries, positives and negatives are among its queries and among its
    judged documents, the same or nearly, and a few examples. A document counts once, however often it serves."""
    indexes = [(one, side, index) for one in held for side, index in _indexes(one, near)]
    found: dict[tuple[str, str, Role], dict[str, Any]] = {
        (one.name, side, role): {"same": 0, "near": 0, "examples": []}
        for one, side, _ in indexes
        for role in ("queries", "positives", "negatives")
    }
    sizes = dict.fromkeys(("queries", "positives", "negatives"), 0)
    for roles, id_, text in _asked(folder, progress):
        for role in roles:
            sizes[role] += 1
        for one, side, index in indexes:
            if (twin := index.find(text)) is not None:
                for role in roles:
                    _note(found[one.name, side, role], id_, text, twin)
    return [
        {
            "name": one.name,
            "sizes": {"queries": len(one.queries), "documents": len(one.documents)},
            "near": near,
            "found": [
                {"of": role, "among": side, "texts": sizes[role], **row}
                for (name, side, role), row in found.items()
                if name == one.name
            ],
        }
        for one in held
    ]


def _indexes(held: Held, near: float) -> list[tuple[str, Texts]]:
    queries = Texts(held.query_ids, held.queries, near=near)
    return [("queries", queries), ("documents", Texts(held.doc_ids, held.documents, near=near))]


def _note(row: dict[str, Any], id_: str, text: str, twin: Twin) -> None:
    row["same" if twin.same else "near"] += 1
    if len(row["examples"]) < _EXAMPLES:
        short = " ".join(text.split())[:_LONG]
        row["examples"].append({"id": id_, "text": short, "twin": twin.id, "similarity": twin.similarity})


def _asked(folder: Path, progress: Progress) -> Iterator[tuple[list[Role], str, str]]:
    """The texts of a mined set that training sees, each with the roles it plays."""
    doc_ids = document_ids(folder)
    masks = {name: np.zeros(len(doc_ids), dtype=np.bool_) for name in ("positives", "negatives")}
    asked = set[str]()
    for block in pair_blocks(folder):
        asked.update(block.query_ids.to_pylist())
        for name, mask in masks.items():
            mask[_rows(block.lists[name].values, doc_ids)] = True
    with progress("compare texts", len(asked) + int((masks["positives"] | masks["negatives"]).sum())) as advance:
        for ids, found in texts(folder, "queries"):
            for id_, text in zip(ids, found, strict=True):
                if id_ in asked:
                    yield ["queries"], id_, text
                    advance(1)
        row = 0
        for ids, found in texts(folder, "corpus"):
            for id_, text in zip(ids, found, strict=True):
                roles: list[Role] = [name for name in ("positives", "negatives") if masks[name][row]]
                if roles:
                    yield roles, id_, text
                    advance(1)
                row += 1


def _rows(values: Any, doc_ids: Strings) -> NDArray[np.int64]:
    rows = places(doc_ids, Strings(values.cast("string")))
    return rows[rows >= 0]
