"""Soups: which models went in and with what weight, and what was tried."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from embedkit.report.lineage import Lineage, Node
from embedkit.report.tables import listed, metric_name


@dataclass(frozen=True)
class Member:
    """One model that was offered to a soup."""

    name: str
    weight: float
    score: float | None  # alone, on the held-out queries


@dataclass(frozen=True)
class Trial:
    """One mixture that was scored."""

    names: str
    score: float
    kept: bool


@dataclass(frozen=True)
class Soup:
    """One soup stage."""

    name: str
    method: str
    measure: str  # what the scores are; empty if nothing was scored
    members: Sequence[Member]
    trials: Sequence[Trial]
    alone: str  # the member that is the whole soup; empty if several are in it


def section(lineage: Lineage) -> list[Soup] | None:
    """The soup stages."""
    return [_soup(node, lineage) for node in lineage.of_kind("soup")] or None


def _soup(node: Node, lineage: Lineage) -> Soup:
    rows: Sequence[dict[str, Any]] = node.stats.get("members", [])
    alone = {row["key"]: row["score"] for row in node.stats.get("candidates", [])}
    members = [Member(lineage.label(row["key"]), row["weight"], alone.get(row["key"])) for row in rows]
    used = [member.name for member in members if member.weight]
    trials = [
        Trial(listed([lineage.label(key) for key in row["members"]]), row["score"], bool(row.get("kept")))
        for row in node.stats.get("trials", [])
    ]
    return Soup(
        name=node.name,
        method=str(node.stats.get("method", "")),
        measure=f"{metric_name(node.stats['metric'])} on {node.stats['split']}" if "metric" in node.stats else "",
        members=members,
        trials=trials,
        alone=used[0] if len(used) == 1 else "",
    )
