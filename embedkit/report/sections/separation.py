"""Separation: how well each model's scores tell relevant documents from others across queries, and as probabilities."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from embedkit.core.separation import read_separation
from embedkit.report.lineage import Lineage
from embedkit.report.plots import histograms, unit_square
from embedkit.report.tables import percent, score

_PART: Final = "parts."  # of an `evaluate` stage's inputs: parts.MODEL/TASK
_DRAWN: Final = 2  # models a task, those with the highest and the lowest AUC
_SOLID: Final = 10  # pairs of a bin that is drawn: the share of fewer is noise

Figures = Mapping[str, Any]  # of one model on one task, see `embedkit.core.separation`


@dataclass(frozen=True)
class Drawn:
    """One model's scores."""

    model: str
    figure: Markup


@dataclass(frozen=True)
class Separated:
    """All models on one task."""

    task: str
    pairs: Mapping[str, int]
    confidence: float
    wanted: float | None  # the precision that the table has a threshold for
    rows: Sequence[tuple[str, Figures, Mapping[str, Any] | None]]  # model, figures, its threshold for `wanted`
    roc: Markup
    reliability: Markup | None
    scores: Sequence[Drawn]
    geometry: Sequence[tuple[str, Mapping[str, Any]]]  # model, how its vectors lie
    notes: Sequence[str]


def section(lineage: Lineage) -> list[Separated] | None:
    """The tasks whose results have figures of separation."""
    places = {node.name: place for place, node in enumerate(lineage.stages())}
    return separated(sorted(_figures(lineage), key=lambda found: places.get(found[0], 0))) or None


def separated(found: Sequence[tuple[str, str, Figures]]) -> list[Separated]:
    """Models, tasks and figures, task by task."""
    tasks = list(dict.fromkeys(task for _, task, _ in found))
    return [_task(task, [(model, figures) for model, its, figures in found if its == task]) for task in tasks]


def _figures(lineage: Lineage) -> Iterator[tuple[str, str, Figures]]:
    for node in lineage.of_kind("evaluate"):
        for where, key in node.inputs.items():
            if where.startswith(_PART) and key in lineage.nodes:
                model, _, task = where.removeprefix(_PART).rpartition("/")  # a model may be a round: NAME/1
                for part, figures in read_separation(lineage.nodes[key].path).items():
                    yield model, f"{task}:{part}" if part else task, figures


def _task(task: str, found: Sequence[tuple[str, Figures]]) -> Separated:
    ordered = sorted(found, key=lambda one: -one[1]["auc"]["pooled"]["value"])
    drawn = ordered if len(ordered) <= _DRAWN else [ordered[0], ordered[-1]]
    wanted = _wanted(found[0][1])
    notes = [f"{model}: {note}" for model, figures in found for note in figures["notes"]]
    return Separated(
        task=task,
        pairs=found[0][1]["pairs"],
        confidence=found[0][1]["bootstrap"]["confidence"],
        wanted=wanted,
        rows=[(model, figures, _threshold(figures, wanted)) for model, figures in found],
        roc=_roc(task, drawn),
        reliability=_reliability(task, drawn),
        scores=[Drawn(model, _scores(model, figures)) for model, figures in drawn],
        geometry=[(model, figures["geometry"]) for model, figures in found if "geometry" in figures],
        notes=notes,
    )


def _wanted(figures: Figures) -> float | None:
    """0.9 if it was asked for, else the highest precision that was."""
    asked = [float(one["wanted"]) for one in figures["thresholds"]["precision"]]
    return 0.9 if 0.9 in asked else max(asked, default=None)


def _threshold(figures: Figures, wanted: float | None) -> Mapping[str, Any] | None:
    return next((one for one in figures["thresholds"]["precision"] if one["wanted"] == wanted), None)


def _roc(task: str, drawn: Sequence[tuple[str, Figures]]) -> Markup:
    lines = {model: [(x, y) for x, y, _ in figures["roc"]] for model, figures in drawn}
    told = ", ".join(f"{model} {score(figures['auc']['pooled']['value'])}" for model, figures in drawn)
    return unit_square(
        lines,
        xlabel="share of other documents taken",
        ylabel="share of relevant ones taken",
        about=f"ROC curves on {task}, area under them: {told}",
    )


def _reliability(task: str, drawn: Sequence[tuple[str, Figures]]) -> Markup | None:
    known = [(model, figures["calibration"]) for model, figures in drawn if figures["calibration"]]
    if not known:
        return None
    lines = {m: [(x, y) for n, x, y in found["reliability"]["first"] if n >= _SOLID] for m, found in known}
    if not all(lines.values()):
        return None
    told = ", ".join(f"{model} {score(found['ece']['first']['value'])}" for model, found in known)
    return unit_square(
        lines,
        xlabel="probability that was given",
        ylabel="share that is relevant",
        about=f"Reliability on {task}, of the first ten documents of each query; calibration error: {told}",
        dots=True,
    )


def _scores(model: str, figures: Figures) -> Markup:
    groups = figures["histograms"]
    shown = {name: groups[name] for name in ("positives", "negatives")}
    means = ", ".join(f"{name} {groups[f'mean_{name}']:.2f} on average" for name in shown)
    most = percent(round(figures["auc"]["variance_between"], 2))
    about = f"Scores by {model}: {means}; {most} of the variance of negatives lies between queries"
    return histograms(shown, about=about)
