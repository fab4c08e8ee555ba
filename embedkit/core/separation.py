"""On-disk format of separation.json: how well one model's scores tell relevant documents from others on one task.

{part of the task: {
    "pairs":       {"queries", "positives", "negatives", "depth", and how many queries and pairs are not among them},
    "bootstrap":   {"samples", "confidence", "seed"}
    "auc":         {"pooled": {"value", "low", "high"}, "per_query": {"value", "low", "high", "queries"},
                    "without_shift", "variance_between"}
    "roc":         [[false positive rate, true positive rate, threshold; null above all scores], ...]
    "calibration": null, or {"temperature", "bias", "folds", "brier": {...}, "ece": {"width", "mass", "first"},
                    "reliability": {"width": [[pairs, mean probability, share relevant], ...], "mass", "first"},
                    "cosine": null, or what the score itself is worth as a probability: {"ece", "brier"}}
    "thresholds":  {"f1": {...}, "precision": [{"wanted", "reached", "threshold", "precision", "recall", ...}]}
    "histograms":  {"positives": ..., "negatives": ...}        as of `embedkit.core.stats`
    "geometry":    perhaps {"alignment", "tolerance", "uniformity", ...}
    "notes":       ["what the figures leave out", ...]}}
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from embedkit.core.errors import ArtifactError
from embedkit.core.store import write_atomically

SEPARATION: Final = "separation.json"


def write_separation(folder: Path, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Write separation.json."""
    write_atomically(folder / SEPARATION, json.dumps(parts, indent=1, allow_nan=False) + "\n")


def read_separation(folder: Path) -> dict[str, dict[str, Any]]:
    """Part of the task -> figures; empty if the folder has none. Raises `ArtifactError` if they cannot be read."""
    path = folder / SEPARATION
    if not path.is_file():
        return {}
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): dict(found) for name, found in parts.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error!r}). Delete its folder to remake it.") from None
