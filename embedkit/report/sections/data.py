"""Data: what was read, what was kept for each split, what was dropped and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embedkit.report.lineage import Lineage, Node
from embedkit.report.tables import number, words

KINDS = ("data", "weak")


@dataclass(frozen=True)
class Split:
    """One split of a dataset."""

    name: str
    queries: int
    judgements: int


@dataclass(frozen=True)
class Card:
    """One data stage."""

    name: str
    kind: str
    summary: Sequence[str]
    warnings: Sequence[str]
    splits: Sequence[Split]
    counts: Sequence[tuple[str, str]]  # what the splits do not say
    leaks: Sequence[tuple[str, str, str, int]]  # split, split that has the same, exact or near, queries
    skipped: Sequence[tuple[str, str, int]]  # kind of weak pair, why a document gave none, documents
    rejects: Sequence[tuple[str, str]]  # where, problem; the first of them


def section(lineage: Lineage) -> list[Card] | None:
    """The stages that make data from outside texts."""
    return [_card(node, lineage) for node in lineage.of_kind(*KINDS)] or None


def _card(node: Node, lineage: Lineage) -> Card:
    stats = node.stats
    splits: Mapping[str, Mapping[str, int]] = stats.get("splits", {})
    told = {f"{split}_{what}" for split, found in splits.items() for what in found}
    counts: dict[str, Any] = {**stats.get("counts", {}), **{f"{k}_pairs": n for k, n in stats.get("made", {}).items()}}
    skipped: Mapping[str, Mapping[str, int]] = stats.get("skipped", {})
    order = [name for name in ("train", "dev", "test") if name in splits]
    return Card(
        name=node.name,
        kind=node.kind,
        summary=lineage.summary(node),
        warnings=lineage.warnings(node),
        splits=[Split(name, splits[name].get("queries", 0), splits[name].get("judgements", 0)) for name in order],
        counts=[(words(name), number(value)) for name, value in counts.items() if name not in told],
        leaks=[(row["from"], row["also_in"], row["why"], row["queries"]) for row in stats.get("leaks", [])],
        skipped=[(words(k), words(why), n) for k, reasons in skipped.items() for why, n in reasons.items()],
        rejects=[(row["where"], row["problem"]) for row in stats.get("rejects", [])],
    )
