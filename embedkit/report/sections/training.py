"""Training: how the loss went, one small figure a stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from embedkit.report.lineage import Lineage
from embedkit.report.plots import curve
from embedkit.report.tables import number

KINDS = ("train", "train_st")


@dataclass(frozen=True)
class Course:
    """One training stage."""

    name: str
    loss: str
    figure: Markup
    caption: str


def section(lineage: Lineage) -> list[Course] | None:
    """The training stages that kept a history."""
    courses = []
    for node in lineage.of_kind(*KINDS):
        points = _points(node.stats.get("history", []))
        if points:
            (first, start), (last, end) = points[0], points[-1]
            caption = f"loss {start:.3f} at step {number(first)}, {end:.3f} at step {number(last)}"
            about = f"Training loss of {node.name}: {caption}"
            courses.append(Course(node.name, loss_name(node.spec), curve(points, about=about), caption))
    return courses or None


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
