"""Teaching: whether the teachers order the student's candidates better than it does, and the scores they gave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from embedkit.report.lineage import Lineage, Node
from embedkit.report.plots import histograms
from embedkit.report.tables import number, words


@dataclass(frozen=True)
class Ranker:
    """One line of the check."""

    name: str
    role: str  # student, teacher, fused
    weight: float | None
    score: float


@dataclass(frozen=True)
class Check:
    """The student's candidates of held-out queries, ordered by each ranker."""

    metric: str
    split: str
    queries: int
    depth: int
    rankers: Sequence[Ranker]
    difference: float  # fused from student
    low: float
    high: float


@dataclass(frozen=True)
class Taught:
    """One teach stage."""

    name: str
    warnings: Sequence[str]
    check: Check | None
    counts: Sequence[tuple[str, str]]
    above_positive: float | None  # share of negatives that the teachers put above their query's positive
    figure: Markup | None


def section(lineage: Lineage) -> list[Taught] | None:
    """The teach stages."""
    return [_taught(node, lineage) for node in lineage.of_kind("teach")] or None


def _taught(node: Node, lineage: Lineage) -> Taught:
    stats = node.stats
    groups: Mapping[str, Mapping[str, Any]] = stats.get("histograms", {})
    shown = {words(name): groups[name] for name in ("positive_targets", "negative_targets") if name in groups}
    return Taught(
        name=node.name,
        warnings=lineage.warnings(node),
        check=_check(stats["rerank"], lineage) if "rerank" in stats else None,
        counts=[(words(name), number(value)) for name, value in stats.get("counts", {}).items()],
        above_positive=stats.get("above_positive"),
        figure=histograms(shown, about=f"Distributions of the teachers' scores of {node.name}") if shown else None,
    )


def _check(found: Mapping[str, Any], lineage: Lineage) -> Check:
    teachers = [
        Ranker(_name(row, lineage), "teacher", row.get("weight"), row["score"]) for row in found.get("teachers", [])
    ]
    return Check(
        metric=found["metric"],
        split=found["split"],
        queries=found["queries"],
        depth=found["depth"],
        rankers=[
            Ranker("student", "student", None, found["student"]),
            *teachers,
            Ranker("teachers together", "fused", None, found["fused"]),
        ],
        difference=found["difference"],
        low=found["low"],
        high=found["high"],
    )


def _name(teacher: Mapping[str, Any], lineage: Lineage) -> str:
    """The model a teacher is, where it is one; its kind otherwise."""
    which = teacher.get("hub") or (lineage.label(teacher["model"]) if teacher.get("model") else "")
    kind = words(str(teacher.get("kind", "")))
    return f"{which} ({kind})" if which else kind
