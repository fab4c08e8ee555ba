"""Training: how the loss went, one small figure a stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from embedkit.report.lineage import Lineage, Node
from embedkit.report.plots import curve
from embedkit.report.tables import number

KINDS = ("train", "train_st", "adore")


@dataclass(frozen=True)
class Course:
    """One training stage, or one of its sources."""

    name: str
    loss: str
    figure: Markup
    caption: str


def section(lineage: Lineage) -> list[Course] | None:
    """The training stages that kept a history."""
    courses = []
    for node in lineage.of_kind(*KINDS):
        history = node.stats.get("history", [])
        for source, name, spec in _sources(node):
            points = _points([row for row in history if row.get("source", 0) == source])
            if points:
                (first, start), (last, end) = points[0], points[-1]
                caption = f"loss {start:.3f} at step {number(first)}, {end:.3f} at step {number(last)}"
                about = f"Training loss of {name}: {caption}"
                courses.append(Course(name, loss_name(spec), curve(points, about=about), caption))
    return courses or None


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
