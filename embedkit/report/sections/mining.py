"""Mining: what was found, what was dropped and why, how the scores lie, what stricter margins would drop, hubs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from embedkit.report.lineage import Lineage, Node
from embedkit.report.plots import histograms, shares
from embedkit.report.tables import number, percent, words

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
    curve: Markup | None  # what stricter margins would drop
    hidden: bool  # whether the curve shows known positives too
    ranks: Sequence[tuple[str, int]]  # ranks, negatives that stood there
    ranked: int
    spread: Sequence[str]  # how evenly documents serve
    estimate: Sequence[str]  # how many negatives are false
    examples: Sequence[Mapping[str, Any]]


def section(lineage: Lineage) -> list[Mined] | None:
    """The mining stages."""
    return [_mined(node, lineage) for node in lineage.of_kind("mine")] or None


def _mined(node: Node, lineage: Lineage) -> Mined:
    return mined(node.name, node.stats, lineage.warnings(node))


def mined(name: str, stats: Mapping[str, Any], warnings: Sequence[str]) -> Mined:
    """What a mined set's numbers show."""
    found: Mapping[str, Mapping[str, Any]] = stats.get("histograms", {})
    shown = {group: found[group] for group in _GROUPS if found.get(group, {}).get("n")}
    means: Mapping[str, float] = stats.get("means", {})
    groups = [Group(group, row["n"], means.get(group)) for group, row in shown.items()]
    told = ", ".join(f"{group.name} {group.mean:.2f} on average" for group in groups if group.mean is not None)
    ranks = stats.get("ranks", [])
    return Mined(
        name=name,
        warnings=warnings,
        counts=[(words(what), number(value)) for what, value in stats.get("counts", {}).items()],
        drops=[(words(row["name"]), row["dropped"]) for row in stats.get("filters", [])],
        candidates=stats.get("counts", {}).get("candidates", 0),
        figure=histograms(shown, about=f"Score distributions of {name}: {told}") if shown else None,
        groups=groups,
        hubs=[(row["doc_id"], row["queries"]) for row in stats.get("hubs", [])[:_HUBS]],
        curve=_curve(name, stats.get("margins", {})),
        hidden=bool(stats.get("margins", {}).get("hidden")),
        ranks=[(_between(row["first"], row["last"]), row["negatives"]) for row in ranks],
        ranked=sum(row["negatives"] for row in ranks),
        spread=stats.get("told", {}).get("hubs", []),
        estimate=stats.get("told", {}).get("false_negatives", []),
        examples=stats.get("examples", []),
    )


def _curve(name: str, margins: Mapping[str, Any]) -> Markup | None:
    """What each ratio to the lowest positive would drop."""
    if not margins:
        return None
    rows = margins["ratios"]
    lines = {"negatives": [(row["ratio"], row["dropped"] / margins["negatives"]) for row in rows]}
    if margins["hidden"]:
        lines["hidden positives"] = [(row["ratio"], row["caught"] / margins["hidden"]) for row in rows]
    told = ", ".join(f"{percent(round(y, 3))} at {x:g}" for x, y in lines["negatives"])
    about = f"Negatives of {name} that each ratio to the positive would drop: {told}"
    return shares(lines, xlabel="keep only what scores at most this share of the positive", about=about)


def _between(first: int, last: int) -> str:
    return str(first) if first == last else f"{first:,} to {last:,}" if last else f"over {first - 1:,}"
