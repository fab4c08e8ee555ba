"""The plot of eval.quality.false_negatives, from its figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

STYLES: Final = {
    "relative_margin": ("ST, relative margin", "tab:orange", "s"),
    "absolute_margin": ("ST, absolute margin", "tab:red", "D"),
    "max_score": ("ST, maximum score", "tab:brown", "^"),
    "rank_shift": ("rank shift", "tab:gray", ""),
    "agreement": ("embedkit, agreement", "tab:blue", ""),
}


def plot(figures: Mapping[str, Any], path: Path) -> None:
    """One column a set, hardness by score above and by rank below; every curve of a panel is of the same queries."""
    sets = figures["sets"]
    canvas, axes = plt.subplots(2, len(sets), figsize=(3.4 * len(sets), 6.4), squeeze=False)
    for column, (name, found) in enumerate(sets.items()):
        for row, of in enumerate(("score", "rank")):
            _panel(axes[row][column], found["common"], of)
        axes[0][column].set_title(f"{name.replace(':', ' ')}\n{found['common']['queries']:.0%} of queries", fontsize=9)
    for row in range(2):
        axes[row][0].set_ylabel("hidden positives among the negatives")
    handles, labels = axes[0][0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False, fontsize=9)
    canvas.tight_layout(rect=(0, 0.05, 1, 1))
    canvas.savefig(path, dpi=130)
    plt.close(canvas)


def _panel(axes: Axes, common: Mapping[str, Any], of: str) -> None:
    for name, (label, colour, marker) in STYLES.items():
        points = sorted(common["curves"][name], key=lambda point: point[of])
        x, y = [point[of] for point in points], [point["share_of_negatives"] for point in points]
        axes.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.4, label=label)
    default = common["default"]
    axes.plot(
        default[of], default["share_of_negatives"], "o", color="tab:blue", markersize=7, label="embedkit's default"
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("mean score of the other negatives" if of == "score" else "their mean rank")
    if of == "rank":
        axes.set_xscale("log")
        axes.invert_xaxis()
    axes.grid(alpha=0.3)
