"""Training: how the loss went, one small figure a stage, and the scores on held-out queries beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from embedkit.report.lineage import Lineage, Node
from embedkit.report.plots import curve
from embedkit.report.tables import listed, number

CONTINUED = "part.after"  # where a stage names the one that it goes on with
KINDS = ("train", "train_st", "adore")


@dataclass(frozen=True)
class Course:
    """The loss of one training stage, or of one of its sources; or its scores on held-out queries."""

    name: str
    loss: str
    figure: Markup
    caption: str


def section(lineage: Lineage) -> list[Course] | None:
    """The training stages that kept a history."""
    courses = []
    continued = {node.inputs.get(CONTINUED) for node in lineage}  # their history is part of a later stage's
    for node in lineage.of_kind(*KINDS):
        if node.key in continued:
            continue
        history = node.stats.get("history", [])
        for source, name, spec in _sources(node):
            points = _points([row for row in history if row.get("source", 0) == source])
            if points:
                (first, start), (last, end) = points[0], points[-1]
                begins = node.stats.get("rounds", [])
                caption = f"loss {start:.3f} at step {number(first)}, {end:.3f} at step {number(last)}"
                if len(begins) > 1:
                    caption += f"; {len(begins)} rounds, from steps {listed([number(step) for step in begins])}"
                about = f"Training loss of {name}: {caption}"
                figure = curve(points, about=about, marks=begins[1:])
                courses.append(Course(name, loss_name(spec), figure, caption))
        evaluation = node.stats.get("evaluation", {})
        if "kept" in evaluation:
            courses.append(_scores(node.name, evaluation))
    return courses or None


def _scores(name: str, told: Mapping[str, Any]) -> Course:
    """How the scores on held-out queries went; a dot where the weights that were kept are."""
    points = [(row["step"], row["value"]) for row in told["scores"]]
    values = dict(points)
    before = f"{values[0]:.4f} before training, " if 0 in values else ""
    kept, last = told["kept"], points[-1][0]
    caption = f"{before}{values[kept]:.4f} at step {number(kept)}, which was kept"
    if kept != last:
        caption += f"; {values[last]:.4f} at step {number(last)}"
    figure = curve(points, about=f"{told['metric']} of {name} on {told['split']}: {caption}", mark=(kept, values[kept]))
    return Course(f"{name}, {told['split']}", told["metric"], figure, caption)


def _sources(node: Node) -> list[tuple[int, str, Mapping[str, Any]]]:
    """Number, name and spec of the stage's own pairs and of its further sources."""
    others = node.spec.get("sources") or []
    return [
        (0, node.name, node.spec),
        *((i, f"{node.name}, source {i}", source) for i, source in enumerate(others, start=1)),
    ]


def loss_name(spec: Mapping[str, Any]) -> str:
    """What a training stage's spec calls its loss, a wrapped one included: matryoshka(infonce, 4 directions)."""
    loss = spec.get("loss")
    if not isinstance(loss, Mapping):
        return ""
    name = str(loss.get("name") or loss.get("kind") or "")
    inner = loss_name(loss)
    name = f"{name}({inner})" if inner else name
    directions = len(loss.get("directions", ()))
    return f"{name}, {directions} directions" if directions > 1 else name


def _points(history: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    return [(row["step"], row["loss"]) for row in history if row.get("loss") is not None and "step" in row]
