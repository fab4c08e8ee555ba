"""Compressed vectors: what each way to keep them costs in score, and saves in bytes and time."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from embedkit.report.lineage import Lineage
from embedkit.report.plots import Spot, pareto
from embedkit.report.tables import listed, metric_name, number

SPEED: Final = "speed.json"


@dataclass(frozen=True)
class Variant:
    """One way to keep vectors, beside the full ones."""

    name: str
    size: float  # bytes of a document
    searched: float  # those of them that are searched
    smaller: float  # times
    score: float
    difference: float
    low: float
    high: float
    overlap: float | None
    seconds: Sequence[float | None]  # for 1,000 queries, by number of threads
    front: bool


@dataclass(frozen=True)
class Compressed:
    """One compress stage."""

    name: str
    metric: str
    about: str  # what was searched
    confidence: float
    warnings: Sequence[str]
    figure: Markup
    overlap: str  # name of that column; empty if there is none
    threads: Sequence[str]
    timed: str  # how times were taken; empty if they were not
    variants: Sequence[Variant]


def section(lineage: Lineage) -> list[Compressed] | None:
    """The compress stages."""
    found = [
        compressed(node.name, node.stats, read_speed(node.path), lineage.warnings(node))
        for node in lineage.of_kind("compress")
        if node.stats
    ]
    return found or None


def read_speed(folder: Path) -> dict[str, Any]:
    """The times that the stage measured; empty if there are none."""
    path = folder / SPEED
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def compressed(name: str, stats: Mapping[str, Any], speed: Mapping[str, Any], warnings: Sequence[str]) -> Compressed:
    """What a compress stage's numbers show."""
    rows, metric = stats["variants"], stats["metrics"][0]
    overlap = next((key for key in rows[0]["metrics"] if key.startswith("overlap@")), "")
    threads = [str(count) for count in speed.get("threads", [])]
    variants = [_variant(row, rows[0], metric, overlap, speed, threads) for row in rows]
    counts = stats["counts"]
    return Compressed(
        name=name,
        metric=metric_name(metric),
        about=f"{number(counts['queries'])} {stats['split']} queries, {number(counts['documents'])} documents, "
        f"{number(counts['dimensions'])} dimensions, ranked {number(stats['depth'])} deep",
        confidence=stats["confidence"],
        warnings=warnings,
        figure=_figure(name, metric_name(metric), variants),
        overlap=overlap,
        threads=threads,
        timed=_timed(speed),
        variants=variants,
    )


def _variant(
    row: Mapping[str, Any],
    full: Mapping[str, Any],
    metric: str,
    overlap: str,
    speed: Mapping[str, Any],
    threads: Sequence[str],
) -> Variant:
    found, times = row["metrics"][metric], speed.get("seconds_per_1000_queries", {}).get(row["name"], {})
    return Variant(
        name=row["name"],
        size=row["bytes"]["document"],
        searched=row["bytes"]["searched"],
        smaller=full["bytes"]["document"] / row["bytes"]["document"],
        score=found["mean"],
        difference=found["difference"],
        low=found["low"],
        high=found["high"],
        overlap=row["metrics"][overlap]["mean"] if overlap else None,
        seconds=[times.get(count, {}).get("median") for count in threads],
        front=row["front"],
    )


def _figure(name: str, metric: str, variants: Sequence[Variant]) -> Markup:
    """Each variant's difference from the full vectors, drawn from their score."""
    full = variants[0].score
    spots = [Spot(v.name, v.size, v.score, full + v.low, full + v.high, front=v.front) for v in variants]
    told = "; ".join(f"{v.name} {v.score:.4f} in {number(v.size)} bytes" for v in variants if v.front)
    about = f"{metric} of {name} by bytes a document, the front: {told}"
    return pareto(spots, reference=full, xlabel="bytes a document", ylabel=metric, about=about)


def _timed(speed: Mapping[str, Any]) -> str:
    if not speed:
        return ""
    threads = listed([str(count) for count in speed["threads"]])
    return (
        f"medians of {speed['rounds']} rounds of {number(speed['queries'])} queries at once, the best "
        f"{number(speed['top_k'])} of {number(speed['documents'])} documents each, with {threads} "
        f"{'thread' if speed['threads'] == [1] else 'threads'}; all variants in turn, on the processor"
    )
