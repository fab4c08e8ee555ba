"""The plot of eval.quality.compression, from its figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

METRIC: Final = "ndcg@10"
COLUMNS: Final = (1, 2, 3, 2, 3, 3)  # of panels, by their number


def plot(figures: Mapping[str, Any], path: Path) -> None:
    """A panel a set: scores by bytes of a document, with the interval of the difference from the full vectors."""
    sets = figures["sets"]
    columns = COLUMNS[min(len(sets), len(COLUMNS)) - 1]
    rows = -(-len(sets) // columns)
    canvas, axes = plt.subplots(rows, columns, figsize=(5.4 * columns, 3.9 * rows), squeeze=False)
    for spot, (name, found) in zip(axes.flat, sets.items(), strict=False):
        _panel(spot, found["variants"])
        spot.set_title(f"{name}, {found['counts']['queries']:,} queries", fontsize=10)
    for spot in list(axes.flat)[len(sets) :]:
        spot.set_visible(False)
    canvas.supxlabel("bytes kept of a document", fontsize=10)
    canvas.supylabel("nDCG@10", fontsize=10)
    canvas.tight_layout()
    canvas.savefig(path, dpi=120)
    plt.close(canvas)


def _panel(axes: Axes, variants: list[Mapping[str, Any]]) -> None:
    full = variants[0]["metrics"][METRIC]["mean"]
    axes.axhline(full, color="tab:gray", linewidth=0.8, linestyle="--")
    front = sorted((row["bytes"]["document"], row["metrics"][METRIC]["mean"]) for row in variants if row["front"])
    for row in variants:
        size, found = row["bytes"]["document"], row["metrics"][METRIC]
        colour = "tab:blue" if row["front"] else "silver"
        axes.plot([size] * 2, [full + found["low"], full + found["high"]], color=colour, linewidth=1.1)
        axes.plot(size, found["mean"], "o", color=colour, markersize=4)
        if row["front"]:
            place = {"xytext": (2, -5), "textcoords": "offset points", "rotation": -28, "rotation_mode": "anchor"}
            axes.annotate(row["name"], (size, found["mean"]), va="top", fontsize=6.5, **place)
    axes.step(*zip(*front, strict=True), where="post", color="tab:blue", linewidth=0.8, alpha=0.6)
    axes.set_xscale("log", base=2)
    ticks = [32 * 2**power for power in range(7)]
    axes.set_xticks(ticks, map(str, ticks))
    axes.set_xlim(24, 5000)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
