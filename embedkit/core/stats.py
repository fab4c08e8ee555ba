"""`stats.json`: what a stage counted and measured, read by the report and shown after the stage has run.

{"summary": ["one line a user reads", ...],      shown by the run command and in the report
 "counts": {"queries": 900, ...},
 "warnings": ["..."],
 ... whatever the report's section for the stage's kind needs}
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

STATS = "stats.json"


def write_stats(out: Path, stats: dict[str, Any]) -> None:
    """Write stats.json into an artifact's draft."""
    (out / STATS).write_text(json.dumps(stats, indent=1, sort_keys=True, allow_nan=False), encoding="utf-8")


def read_stats(folder: Path) -> dict[str, Any]:
    """An artifact's stats; empty if it has none."""
    path = folder / STATS
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def histogram(values: ArrayLike, *, low: float, high: float, bins: int = 40) -> dict[str, Any]:
    """Counts of `values` in equal bins of [low, high], values outside put into the outermost bins."""
    array = np.clip(np.asarray(values, dtype=np.float64), low, high)
    counts, edges = np.histogram(array, bins=bins, range=(low, high))
    return {"low": low, "high": high, "edges": edges.tolist(), "counts": counts.tolist(), "n": int(array.size)}
