"""What the scores say: every model against the baseline, and the two comparisons the report opens with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from embedkit.core.errors import StageError
from embedkit.core.scores import TaskScores
from embedkit.report.comparison import Bootstrap, Comparison, Evidence, best_of, compare
from embedkit.report.tables import listed, metric_name, percent, score, signed

_UNITS: Final = {
    "Classification": "texts",
    "MultilabelClassification": "texts",
    "Clustering": "experiments",
    "STS": "pairs",
    "PairClassification": "pairs",
    "BitextMining": "pairs",
    "Summarization": "summaries",
}


@dataclass(frozen=True)
class Question:
    """Which models the report is about, by key, and which metric decides where a task has it; None: each task's own."""

    baseline: str
    candidate: str
    peers: Sequence[str]
    metric: str | None = None

    def decides(self, evidence: Evidence, task: str) -> str | None:
        """The metric that decides on a task; None if the task has no score."""
        has = self.metric is not None and self.metric in evidence.metrics(task)
        return self.metric if has else evidence.main(task)


@dataclass(frozen=True)
class Cell:
    """One model's score on one metric."""

    value: float
    best: bool
    against_baseline: Comparison | None  # None for the baseline itself, and where it has no score


@dataclass(frozen=True)
class Row:
    """One model's line of a score table."""

    model: str  # key
    role: Literal["baseline", "candidate", "peer", ""]
    cells: Mapping[str, Cell | None]  # metric -> cell, None where the model has no score


@dataclass(frozen=True)
class Board:
    """The score table of one task, the deciding metric first."""

    task: str
    queries: int  # or whatever `units` says
    units: str
    metrics: Sequence[str]
    rows: Sequence[Row]
    without: Sequence[str]  # keys of models that have no score on this task


@dataclass(frozen=True)
class Headline:
    """One of the comparisons the report opens with."""

    title: str
    comparison: Comparison
    figures: str  # the numbers in a sentence
    meaning: str  # what the interval says, in plain words
    choice: str = ""  # which peers there were, if several


def check(evidence: Evidence, question: Question, names: Mapping[str, str]) -> list[str]:
    """The tasks that have scores. Raises `StageError` if a model of the question was not scored, or no task has the
    metric."""
    scored = evidence.models()
    roles = {"baseline": question.baseline, "candidate": question.candidate}
    roles |= {f"peers[{i}]": peer for i, peer in enumerate(question.peers)}
    for role, key in roles.items():
        if key not in scored:
            raise StageError(
                f"{role}: {names[key]!r} was not evaluated; scores has {[names[k] for k in scored]}. "
                "Add it to the models of the evaluate stage."
            )
    known = list(dict.fromkeys(metric for task in evidence.tasks for metric in evidence.metrics(task)))
    if question.metric is not None and question.metric not in known:
        raise StageError(f"metric: scores has no {question.metric!r}; it has {known}")
    return [task for task in evidence.tasks if evidence.metrics(task)]


def units_of(scores: TaskScores) -> str:
    """What a task's score is made of."""
    return _UNITS.get(scores.type, "queries")


def board(evidence: Evidence, task: str, question: Question, how: Bootstrap) -> Board:
    """The score table of `task`, the deciding metric first."""
    models = evidence.models(task)
    first = question.decides(evidence, task)
    metrics = sorted(evidence.metrics(task), key=lambda metric: metric != first)
    rows = [
        Row(model, _role(model, question), {m: _cell(evidence, model, task, m, question, how) for m in metrics})
        for model in models
    ]
    scores = evidence.scores[models[0], task]
    without = [model for model in evidence.models() if model not in models]
    return Board(task, scores.queries, units_of(scores), metrics, rows, without)


def headlines(
    evidence: Evidence, task: str, question: Question, names: Mapping[str, str], how: Bootstrap
) -> list[Headline]:
    """The candidate against the baseline, and against the best of its peers, as far as all have a score."""
    metric = question.decides(evidence, task)
    if metric is None:
        return []

    def ask(reference: str | None, *, chosen: bool) -> list[Headline]:
        if reference is None:
            return []
        one = compare(evidence, question.candidate, reference, task=task, metric=metric, how=how)
        if one is None:
            return []
        choice = _choice(evidence, one, question, names) if chosen else ""
        return [_headline(one, evidence.scores[one.model, task], names, how, choice)]

    best = best_of(evidence, question.peers, task=task, metric=metric)
    return [*ask(question.baseline, chosen=False), *ask(best, chosen=True)]


def _cell(evidence: Evidence, model: str, task: str, metric: str, question: Question, how: Bootstrap) -> Cell | None:
    value = evidence.value(model, task, metric)
    if value is None:
        return None
    values = (evidence.value(other, task, metric) for other in evidence.models(task))
    against = None
    if model != question.baseline:
        against = compare(evidence, model, question.baseline, task=task, metric=metric, how=how)
    return Cell(value, value == max(v for v in values if v is not None), against)


def _headline(
    found: Comparison, scores: TaskScores, names: Mapping[str, str], how: Bootstrap, choice: str = ""
) -> Headline:
    ours, theirs = names[found.model], names[found.reference]
    span, units = found.interval, units_of(scores)
    figures = (
        f"{metric_name(found.metric)} {score(found.value)} against {score(found.reference_value)}: "
        f"{signed(found.difference)}"
    )
    if span is not None:
        figures += f", {percent(how.confidence)} interval {signed(span.low)} to {signed(span.high)}"
    does = ("ranks better", "ranks worse") if units == "queries" else ("scores higher", "scores lower")
    meaning = {
        "higher": f"The interval excludes zero: {ours} {does[0]} than {theirs} on these {units}.",
        "lower": f"The interval excludes zero: {ours} {does[1]} than {theirs} on these {units}.",
        "unclear": f"The interval includes zero: these {units} do not tell {ours} and {theirs} apart.",
        "untested": "There is no interval: only the score as a whole is known, not what it is made of.",
    }
    return Headline(f"{ours} against {theirs}", found, f"{figures}.", meaning[found.verdict], choice)


def _choice(evidence: Evidence, found: Comparison, question: Question, names: Mapping[str, str]) -> str:
    peers = {peer: evidence.value(peer, found.task, found.metric) for peer in question.peers}
    scored = [f"{names[peer]} {score(value)}" for peer, value in peers.items() if value is not None]
    if len(scored) == 1:
        return ""
    word = "better" if len(scored) == 2 else "best"
    units = units_of(evidence.scores[found.model, found.task])
    return (
        f"{names[found.reference]} is the {word} of {listed(scored)}, chosen on these same {units}, which favours it."
    )


def _role(model: str, question: Question) -> Literal["baseline", "candidate", "peer", ""]:
    if model == question.candidate:
        return "candidate"
    if model == question.baseline:
        return "baseline"
    return "peer" if model in question.peers else ""
