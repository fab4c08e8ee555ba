"""What matches come to, task by task: which training texts are evaluation texts, and which queries that touches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.columns import places
from embedkit.evaluation.contamination.held import SIDES, Held, HeldTexts, Mask, Rows, Side
from embedkit.evaluation.contamination.matches import HOWS, NO_MATCH, Matches, strongest
from embedkit.evaluation.contamination.training import ROLES, Role, Training

Hows = NDArray[np.int8]
EXAMPLES: Final = 5
_LONG: Final = 200  # characters of an example's text


@dataclass(frozen=True)
class Overlap:
    """Matches of one task."""

    training: Training
    held: HeldTexts
    task: int
    matches: Matches

    @property
    def of(self) -> Held:
        """The task."""
        return self.held.tasks[self.task]

    @cached_property
    def rows(self) -> Mapping[Side, Rows]:
        """Places of the queries, of the documents that are relevant to any, and of the others."""
        wanted = list(dict.fromkeys(doc for _, doc in self.of.judged()))
        relevant = np.zeros(len(self.of.doc_ids), dtype=np.bool_)
        rows = places(self.of.doc_ids, wanted) if wanted and len(relevant) else np.empty(0, np.int64)
        relevant[rows[rows >= 0]] = True
        return {
            "queries": np.arange(len(self.of.query_ids)),
            "relevant": np.flatnonzero(relevant),
            "documents": np.flatnonzero(~relevant),
        }

    def units(self, side: Side) -> Rows:
        """(n,) the unit at each place of `rows[side]`; -1 where the text has no words."""
        found = self.held.units(self.task, "queries" if side == "queries" else "documents")
        return found[self.rows[side]]

    def among(self, side: Side) -> Mask:
        """(U,) which units are such texts."""
        mask = np.zeros(len(self.held), dtype=np.bool_)
        units = self.units(side)
        mask[units[units >= 0]] = True
        return mask

    def cell(self, role: Role, side: Side) -> Matches:
        """Matches of training texts that play this role with such evaluation texts."""
        return self.matches.where(
            self.training.having(role)[self.matches.numbers] & self.among(side)[self.matches.units]
        )

    def touched(self, side: Side, matches: Matches) -> dict[str, str]:
        """Id -> how, of the evaluation texts of this side that are in these matches, in their order."""
        units = self.units(side)
        hows = np.append(strongest(matches.units, matches.hows, len(self.held)), np.int8(NO_MATCH))[units]
        ids = self.of.query_ids if side == "queries" else self.of.doc_ids
        there = np.flatnonzero(hows < NO_MATCH)
        return {ids[int(self.rows[side][at])]: HOWS[hows[at]] for at in there}


@dataclass(frozen=True)
class Leak:
    """A training pair that is a judged pair of a task: the query one of its queries, the positive relevant to it."""

    number: int  # of the training query
    document: int  # of the training document
    query_id: str
    doc_id: str
    how: str  # the weaker of the two matches


def leaks(overlap: Overlap) -> Iterator[Leak]:
    """All of them, in the order of the training pairs."""
    queries, documents = _by_number(overlap, "queries", "queries"), _by_number(overlap, "positives", "relevant")
    judged = _judged_units(overlap)
    asked, known = (np.array(sorted(one), dtype=np.int64) for one in (queries, documents))
    for own, positives in overlap.training.pairs() if len(asked) and len(known) else ():
        for at in np.flatnonzero(np.isin(own, asked) & np.isin(positives, known)).tolist():
            number, document = int(own[at]), int(positives[at])
            for unit, how in queries[number]:
                for other, way in documents[document]:
                    for query_id, doc_id in judged.get((unit, other), ()):
                        yield Leak(number, document, query_id, doc_id, HOWS[max(how, way)])


def found(overlap: Overlap, role: Role, side: Side) -> dict[str, Any]:
    """Counts and examples of one role among one side; a text counts once, by its strongest match."""
    cell = overlap.cell(role, side)
    hows = strongest(cell.numbers, cell.hows, len(overlap.training))
    return {
        "of": role,
        "among": side,
        "texts": int(overlap.training.having(role).sum()),
        "held": len(overlap.rows[side]),
        "found": _counts(hows[hows < NO_MATCH]),
        "touched": _counted(overlap.touched(side, cell)),
        "examples": _examples(overlap, cell, side),
    }


def table(overlap: Overlap) -> list[dict[str, Any]]:
    """`found` of every role among every side."""
    return [found(overlap, role, side) for role in ROLES for side in SIDES if len(overlap.rows[side])]


def _by_number(overlap: Overlap, role: Role, side: Side) -> dict[int, list[tuple[int, int]]]:
    """Number of a training text -> the units that it matches, and how."""
    cell, result = overlap.cell(role, side), dict[int, list[tuple[int, int]]]()
    for number, unit, how in zip(cell.numbers.tolist(), cell.units.tolist(), cell.hows.tolist(), strict=True):
        result.setdefault(number, []).append((unit, how))
    return result


def _judged_units(overlap: Overlap) -> dict[tuple[int, int], list[tuple[str, str]]]:
    """Units of a query and a document -> the ids that are judged relevant of these texts."""
    sides = overlap.held.units(overlap.task, "queries"), overlap.held.units(overlap.task, "documents")
    queries = {id_: int(unit) for id_, unit in zip(overlap.of.query_ids, sides[0], strict=True)}
    relevant = overlap.rows["relevant"]
    documents = {overlap.of.doc_ids[int(row)]: int(sides[1][row]) for row in relevant}
    result: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for query, doc in overlap.of.judged():
        if query in queries and doc in documents:
            result.setdefault((queries[query], documents[doc]), []).append((query, doc))
    return result


def _examples(overlap: Overlap, cell: Matches, side: Side) -> list[dict[str, Any]]:
    """The strongest few of each way to match, each with both texts."""
    chosen = [at for how in range(NO_MATCH) for at in np.flatnonzero(cell.hows == how)[:EXAMPLES].tolist()]
    units, ids = overlap.units(side), overlap.of.query_ids if side == "queries" else overlap.of.doc_ids
    twins = {int(unit): ids[int(overlap.rows[side][at])] for at, unit in reversed(list(enumerate(units.tolist())))}
    return [
        {
            "how": HOWS[cell.hows[at]],
            "similarity": round(float(cell.values[at]), 4),
            "id": overlap.training.id(int(cell.numbers[at])),
            "text": _short(overlap.training.text(int(cell.numbers[at]))),
            "twin": twins[int(cell.units[at])],
            "twin_text": _short(overlap.held.texts(cell.units[at : at + 1])[0]),
        }
        for at in chosen
    ]


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _LONG else f"{plain[:_LONG]}..."


def _counts(hows: Hows) -> dict[str, int]:
    return {name: int((hows == how).sum()) for how, name in enumerate(HOWS) if (hows == how).any()}


def _counted(touched: Mapping[str, str]) -> dict[str, int]:
    values: Sequence[str] = list(touched.values())
    return {name: values.count(name) for name in HOWS if name in values}
