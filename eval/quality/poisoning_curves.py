"""Detection curves: how much of what was planted is found, against how much else is taken for it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
RATES: Final = (0.01, 0.05)  # of false alarms, that tables tell
GRID: Final = tuple(float(f"{rate:.4g}") for rate in np.geomspace(0.001, 1, 25))  # that the plot shows


def recall(planted: Doubles, honest: Doubles, rate: float) -> float:
    """Share of the planted that score above all but a share `rate` of the honest; equal scores are not above."""
    if not len(planted):
        return float("nan")
    ordered = np.sort(honest)[::-1]
    threshold = ordered[min(int(rate * len(honest)), len(honest) - 1)]
    return float((planted > threshold).mean()) if rate < 1 else 1.0


def area(planted: Doubles, honest: Doubles) -> float:
    """Chance that a planted one scores above an honest one, ties half."""
    ordered = np.sort(honest)
    below, upto = (np.searchsorted(ordered, planted, side=side) for side in ("left", "right"))
    return float((below + upto).mean() / 2 / len(honest)) if len(planted) else float("nan")


def curves(trials: Sequence[tuple[Mapping[str, Doubles], NDArray[np.bool_]]]) -> dict[str, Any]:
    """By signal, means over trials: its values (higher is more suspicious), and which rows were planted."""
    return {
        name: {
            "auc": _mean([area(values[name][bad], values[name][~bad]) for values, bad in trials]),
            **{
                f"recall@{rate:g}": _mean(
                    [recall(values[name][bad], values[name][~bad], rate) for values, bad in trials]
                )
                for rate in RATES
            },
            "curve": [_mean([recall(v[name][bad], v[name][~bad], rate) for v, bad in trials]) for rate in GRID],
        }
        for name in trials[0][0]
    }


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)
