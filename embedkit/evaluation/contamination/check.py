"""Holds training pairs against the tasks that a model is to be measured by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from embedkit.core.errors import DataError
from embedkit.core.progress import Progress, silent
from embedkit.core.shingles import WORDS
from embedkit.evaluation.contamination.finder import RUN, Rules, find_matches
from embedkit.evaluation.contamination.held import Held, HeldTexts
from embedkit.evaluation.contamination.matches import HOWS, Matches
from embedkit.evaluation.contamination.overlaps import EXAMPLES, Leak, Overlap, leaks, table
from embedkit.evaluation.contamination.remarks import looked_for, summary, warnings
from embedkit.evaluation.contamination.templates import templates
from embedkit.evaluation.contamination.training import ROLES, Training

Reason = Literal["query", "judged_pair", "relevant_document"]
SEEN: Final[tuple[Reason, ...]] = ("query", "judged_pair")
"""What makes a query touched: training has seen its text, or it together with an answer of its. That training has seen
a document that answers it is told apart: where training and evaluation share a corpus, that is no leak."""
Similar = Callable[[Training, HeldTexts], Matches]


@dataclass(frozen=True)
class Checked:
    """Training pairs, tasks, and all matches between them."""

    training: Training
    held: HeldTexts
    matches: Matches
    near_by: Literal["exact", "minhash"]

    def overlaps(self) -> list[Overlap]:
        """Those of each task."""
        return [Overlap(self.training, self.held, task, self.matches) for task in range(len(self.held.tasks))]


def check(
    training: Training,
    tasks: Sequence[Held],
    rules: Rules,
    *,
    similar: Similar | None = None,
    progress: Progress = silent,
) -> Checked:
    """Compare every text that training sees with every text of the tasks. `similar` finds matches of another sort.

    Raises `DataError` if there is nothing to compare.
    """
    if not training.rows:
        raise DataError(f"{training.folder}: has no training pairs")
    for task in tasks:
        if not len(task.queries):
            raise DataError(f"{task.name}: has no queries to evaluate on")
    held = HeldTexts(tasks)
    matches, near_by = find_matches(training, held, rules, progress=progress)
    if similar is not None:
        matches = Matches.joined([matches, similar(training, held)])
    return Checked(training, held, matches, near_by)


def findings(checked: Checked, rules: Rules, similarity: float | None = None) -> dict[str, Any]:
    """Everything that was found, as JSON.

    {"train": {"pairs", "queries", "positives", "negatives"},
     "rules": {"near", "near_by", "shingle", "contained", "run", "similarity"},
     "tasks": [{"name", "queries", "relevant", "documents", "judged_pairs", "found": one row a role of training texts
                and side of the task's, "leaked_pairs", "templates", "touched": {reason: {query_id: how}},
                "touched_query_ids": those that training has seen}],
     "looked_for", "summary", "warnings"}

    Examples have texts of both sides: this is for one's own eyes, unless licences allow more.
    """
    tasks = [_task(overlap) for overlap in checked.overlaps()]
    train = {"pairs": checked.training.rows}
    train |= {role: int(checked.training.having(role).sum()) for role in ROLES}
    result: dict[str, Any] = {
        "train": train,
        "rules": {
            "near": rules.near,
            "near_by": checked.near_by if rules.near is not None else None,
            "shingle": WORDS,
            "contained": rules.contained,
            "run": RUN,
            "similarity": similarity,
        },
        "tasks": tasks,
    }
    said = {"looked_for": looked_for(result["rules"]), "summary": summary(result), "warnings": warnings(result)}
    return {**result, **said}


def touched(overlap: Overlap, leaked: Sequence[Leak]) -> dict[Reason, dict[str, str]]:
    """Reason -> id of a query of the task -> how; the strongest way for each."""
    relevant = overlap.touched("relevant", overlap.cell("positives", "relevant"))
    answered: dict[str, str] = {}
    for query, doc in overlap.of.judged():
        if doc in relevant:
            answered[query] = min(answered.get(query, HOWS[-1]), relevant[doc], key=HOWS.index)
    pairs: dict[str, str] = {}
    for leak in leaked:
        pairs[leak.query_id] = min(pairs.get(leak.query_id, HOWS[-1]), leak.how, key=HOWS.index)
    order = {query: row for row, query in enumerate(overlap.of.query_ids)}
    of_queries = overlap.matches.where(overlap.among("queries")[overlap.matches.units])
    return {
        "query": overlap.touched("queries", of_queries),
        "judged_pair": _sorted(pairs, order),
        "relevant_document": _sorted({query: how for query, how in answered.items() if query in order}, order),
    }


def _task(overlap: Overlap) -> dict[str, Any]:
    leaked = list(leaks(overlap))
    by_reason = touched(overlap, leaked)
    seen = {query for reason in SEEN for query in by_reason[reason]}
    rows = overlap.rows
    return {
        "name": overlap.of.name,
        **{side: len(places) for side, places in rows.items()},
        "queries": len(set(overlap.of.query_ids)),
        "judged_pairs": len(overlap.of.judged()),
        "left_out": list(overlap.of.left_out[:EXAMPLES]),
        "rows_left_out": len(overlap.of.left_out),
        "found": table(overlap),
        "leaked_pairs": _leaked(overlap, leaked),
        "templates": templates(overlap),
        "touched": by_reason,
        "touched_query_ids": [query for query in dict.fromkeys(overlap.of.query_ids) if query in seen],
    }


def _leaked(overlap: Overlap, leaked: Sequence[Leak]) -> dict[str, Any]:
    """Judged pairs that are training pairs, by the weaker of the two matches; a judged pair counts once."""
    strongest: dict[tuple[str, str], Leak] = {}
    for leak in leaked:
        known = strongest.setdefault((leak.query_id, leak.doc_id), leak)
        if HOWS.index(leak.how) < HOWS.index(known.how):
            strongest[leak.query_id, leak.doc_id] = leak
    hows = [leak.how for leak in strongest.values()]
    examples = [leak for how in HOWS for leak in [one for one in strongest.values() if one.how == how][:EXAMPLES]]
    return {
        "found": {how: hows.count(how) for how in HOWS if how in hows},
        "training_pairs": len({(leak.number, leak.document) for leak in leaked}),
        "examples": [
            {
                "how": leak.how,
                "query_id": leak.query_id,
                "doc_id": leak.doc_id,
                "training_query": overlap.training.id(leak.number),
                "training_document": overlap.training.id(leak.document),
            }
            for leak in examples
        ],
    }


def _sorted(found: Mapping[str, str], order: Mapping[str, int]) -> dict[str, str]:
    return {query: found[query] for query in sorted(found, key=order.__getitem__)}
