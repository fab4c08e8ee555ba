"""Separation in a few lines for people."""

from collections.abc import Mapping
from typing import Any


def told(found: Mapping[str, Any]) -> list[str]:
    """What the figures of one part come to, a line a subject."""
    area, pooled, own = found["auc"], found["auc"]["pooled"], found["auc"]["per_query"]
    lines = [
        f"AUC of all queries together {_with(pooled)}, of each query alone {own['value']:.4f} on average; "
        f"{area['variance_between']:.0%} of the variance of irrelevant documents' scores lies between queries, and "
        f"without these shifts the AUC of all is {area['without_shift']:.4f}"
    ]
    if calibration := found["calibration"]:
        ece, brier = calibration["ece"], calibration["brier"]
        temperature = calibration["temperature"]
        scaled = "" if temperature is None else f"temperature {temperature:.4g}, bias {calibration['bias']:.4g}: "
        lines.append(
            f"calibrated with {scaled}ECE {ece['width']['value']:.4f} (chance alone {ece['width']['noise']:.4f}), "
            f"of the first 10 of a query {ece['first']['value']:.4f} (chance alone {ece['first']['noise']:.4f}); "
            f"Brier score {brier['score']:.5f}, {brier['skill']:.1%} better than the share of relevant pairs"
        )
        if cosine := calibration["cosine"]:
            lines.append(f"a cosine taken as it is: ECE {cosine['ece']:.4f}, Brier score {cosine['brier']:.5f}")
    lines += [threshold_told(one) for one in found["thresholds"]["precision"]]
    best, held = found["thresholds"]["f1"], found["thresholds"]["f1"]["held_out"]
    lines.append(
        f"best F1 {best['f1']:.3f} at {best['threshold']:.4f}{_between(best)}: precision {best['precision']:.3f}, "
        f"recall {best['recall']:.3f}; on other queries {_share(held['precision'])}, {held['recall']:.3f}"
    )
    if "geometry" in found:
        lines += _geometry(found["geometry"])
    return lines + list(found["notes"])


def threshold_told(one: Mapping[str, Any]) -> str:
    """A threshold for a wanted precision in a line."""
    if not one["reached"]:
        return (
            f"precision {one['wanted']:g} cannot be reached: the highest is {one['precision']:.3f}, at "
            f"{one['threshold']:.4f}, where {one['recall']:.1%} of what is relevant is found"
        )
    held = one["held_out"]
    span = f" ({held['low']:.3f} to {held['high']:.3f})" if held["precision"] is not None else ""
    return (
        f"precision {one['wanted']:g} at {one['threshold']:.4f}{_between(one)}, finding {one['recall']:.1%} of what is "
        f"relevant; on other queries precision {_share(held['precision'])}{span}, finding {held['recall']:.1%}"
    )


def _geometry(found: Mapping[str, Any]) -> list[str]:
    """How the vectors lie, as far as there are any."""
    spread = [f"{name} {value:.3f}" for name, value in found["uniformity"].items() if value is not None]
    near = [f"{name} {found[name]:.3f}" for name in ("alignment", "tolerance") if found[name] is not None]
    if found["tolerance_documents"] is not None:
        near.append(f"tolerance of documents of one query {found['tolerance_documents']:.3f}")
    told = [*([f"uniformity of {', of '.join(spread)}"] if spread else []), *near]
    missing = found["without_direction"]
    return [*(["; ".join(told)] if told else []), *([f"vectors of length 0: {missing:,}"] if missing else [])]


def _with(value: Mapping[str, float]) -> str:
    return f"{value['value']:.4f} ({value['low']:.4f} to {value['high']:.4f})"


def _between(one: Mapping[str, Any]) -> str:
    return "" if one["low"] is None else f" ({one['low']:.4f} to {one['high']:.4f})"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
