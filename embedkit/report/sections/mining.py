"""Mining: what was found, what was dropped and why, and how the scores of each group lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from embedkit.report.lineage import Lineage, Node
from embedkit.report.plots import histograms
from embedkit.report.tables import number, words

_GROUPS: Final = ("positives", "negatives", "dropped")
_HUBS: Final = 5


@dataclass(frozen=True)
class Group:
    """The scores of positives, of chosen negatives or of dropped candidates."""

    name: str
    size: int
    mean: float | None


@dataclass(frozen=True)
class Mined:
    """One mining stage."""

    name: str
    warnings: Sequence[str]
    counts: Sequence[tuple[str, str]]
    drops: Sequence[tuple[str, int]]  # filter, candidates it dropped
    candidates: int
    figure: Markup | None
    groups: Sequence[Group]
    hubs: Sequence[tuple[str, int]]  # document, queries it is a negative of


def section(lineage: Lineage) -> list[Mined] | None:
    """The mining stages."""
    return [_mined(node, lineage) for node in lineage.of_kind("mine")] or None


def _mined(node: Node, lineage: Lineage) -> Mined:
    stats = node.stats
    found: Mapping[str, Mapping[str, Any]] = stats.get("histograms", {})
    shown = {name: found[name] for name in _GROUPS if found.get(name, {}).get("n")}
    means: Mapping[str, float] = stats.get("means", {})
    groups = [Group(name, group["n"], means.get(name)) for name, group in shown.items()]
    told = ", ".join(f"{group.name} {group.mean:.2f} on average" for group in groups if group.mean is not None)
    return Mined(
        name=node.name,
        warnings=lineage.warnings(node),
        counts=[(words(name), number(value)) for name, value in stats.get("counts", {}).items()],
        drops=[(words(row["name"]), row["dropped"]) for row in stats.get("filters", [])],
        candidates=stats.get("counts", {}).get("candidates", 0),
        figure=histograms(shown, about=f"Score distributions of {node.name}: {told}") if shown else None,
        groups=groups,
        hubs=[(row["doc_id"], row["queries"]) for row in stats.get("hubs", [])[:_HUBS]],
    )
