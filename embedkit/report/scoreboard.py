"""What the scores say: every model against the baseline, and the two comparisons the report opens with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from embedkit.core.errors import StageError
from embedkit.core.scores import PerQuery
from embedkit.report.comparison import Bootstrap, Comparison, Values, best_of, compare
from embedkit.report.tables import listed, metric_name, percent, score, signed


@dataclass(frozen=True)
class Question:
    """Which models the report is about, by key, and which metric decides."""

    baseline: str
    candidate: str
    peers: Sequence[str]
    metric: str


@dataclass(frozen=True)
class Cell:
    """One model's mean on one metric."""

    value: float
    best: bool
    against_baseline: Comparison | None  # None for the baseline itself


@dataclass(frozen=True)
class Row:
    """One model's line of a score table."""

    model: str  # key
    role: Literal["baseline", "candidate", "peer", ""]
    cells: Mapping[str, Cell]  # metric -> cell


@dataclass(frozen=True)
class Board:
    """The score table of one task."""

    task: str
    queries: int
    metrics: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Headline:
    """One of the comparisons the report opens with."""

    title: str
    comparison: Comparison
    figures: str  # the numbers in a sentence
    meaning: str  # what the interval says, in plain words
    choice: str = ""  # which peers there were, if several


def check(values: Values, question: Question, names: Mapping[str, str]) -> list[str]:
    """The tasks of the scores. Raises `StageError` if a model of the question was not scored on the metric."""
    tasks = list(dict.fromkeys(task for _, task in values))
    scored = list(dict.fromkeys(model for model, _ in values))
    roles = {"baseline": question.baseline, "candidate": question.candidate}
    roles |= {f"peers[{i}]": peer for i, peer in enumerate(question.peers)}
    for role, key in roles.items():
        if key not in scored:
            raise StageError(
                f"{role}: {names[key]!r} was not evaluated; scores has {[names[k] for k in scored]}. "
                "Add it to the models of the evaluate stage."
            )
    if question.metric not in metrics_of(values):
        raise StageError(f"metric: scores has no {question.metric!r}; it has {metrics_of(values)}")
    return tasks


def metrics_of(values: Values) -> list[str]:
    """The metrics of the scores, in the order of the evaluate stage."""
    return list(dict.fromkeys(metric for rows in values.values() for row in rows.values() for metric in row))


def board(values: Values, task: str, question: Question, how: Bootstrap) -> Board:
    """The score table of `task`, the deciding metric first."""
    models = [model for model, its_task in values if its_task == task]
    metrics = sorted(metrics_of(values), key=lambda metric: metric != question.metric)
    means = {m: {metric: _mean(values[m, task], metric) for metric in metrics} for m in models}
    top = {metric: max(means[m][metric] for m in models) for metric in metrics}
    rows = []
    for model in models:
        cells = {
            metric: Cell(
                value=means[model][metric],
                best=means[model][metric] == top[metric],
                against_baseline=None
                if model == question.baseline
                else compare(values, model, question.baseline, task=task, metric=metric, how=how),
            )
            for metric in metrics
        }
        rows.append(Row(model, _role(model, question), cells))
    return Board(task, len(values[models[0], task]), metrics, rows)


def headlines(
    values: Values, task: str, question: Question, names: Mapping[str, str], how: Bootstrap
) -> list[Headline]:
    """The candidate against the baseline, and against the best of its peers."""

    def ask(reference: str) -> Comparison:
        return compare(values, question.candidate, reference, task=task, metric=question.metric, how=how)

    found = [_headline(ask(question.baseline), names, how)]
    if question.peers:
        best = best_of(values, question.peers, task=task, metric=question.metric)
        choice = _choice(values, task, question, names, best)
        found.append(_headline(ask(best), names, how, choice))
    return found


def _headline(found: Comparison, names: Mapping[str, str], how: Bootstrap, choice: str = "") -> Headline:
    ours, theirs = names[found.model], names[found.reference]
    span = found.interval
    figures = (
        f"{metric_name(found.metric)} {score(found.value)} against {score(found.reference_value)}: "
        f"{signed(span.difference)}, {percent(how.confidence)} interval {signed(span.low)} to {signed(span.high)}."
    )
    meaning = {
        "higher": f"The interval excludes zero: {ours} ranks better than {theirs} on these queries.",
        "lower": f"The interval excludes zero: {ours} ranks worse than {theirs} on these queries.",
        "unclear": f"The interval includes zero: these queries do not tell {ours} and {theirs} apart.",
    }
    return Headline(f"{ours} against {theirs}", found, figures, meaning[found.verdict], choice)


def _choice(values: Values, task: str, question: Question, names: Mapping[str, str], best: str) -> str:
    if len(question.peers) == 1:
        return ""
    means = [f"{names[peer]} {score(_mean(values[peer, task], question.metric))}" for peer in question.peers]
    word = "better" if len(means) == 2 else "best"
    return f"{names[best]} is the {word} of {listed(means)}, chosen on these same queries, which favours it."


def _role(model: str, question: Question) -> Literal["baseline", "candidate", "peer", ""]:
    if model == question.candidate:
        return "candidate"
    if model == question.baseline:
        return "baseline"
    return "peer" if model in question.peers else ""


def _mean(rows: PerQuery, metric: str) -> float:
    return sum(row[metric] for row in rows.values()) / len(rows)
