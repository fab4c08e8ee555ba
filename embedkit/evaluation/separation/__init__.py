"""What one model's scores on one task say beyond its rankings: separation, calibration and thresholds.

found = measure(Path("runs/x/.../task_scores"))      # part of the task -> figures
found[""]["auc"]["pooled"]                           # {"value": 0.94, "low": 0.93, "high": 0.95}

Figures are JSON-ready, in the format told in `embedkit.core.separation`; intervals come from resampled queries.
Documents that nobody judged count as not relevant. Probabilities and precisions are those among a query's relevant and
best-scoring other documents: right for what a search returns, too high for documents taken at random.
"""

from pathlib import Path
from typing import Any

from embedkit.core.separation import read_separation, write_separation
from embedkit.evaluation.separation.figures import Options, geometry, separation
from embedkit.evaluation.separation.pairs import DEPTH, Scored, scored_pairs, scored_parts
from embedkit.evaluation.separation.told import told

__all__ = [
    "DEPTH",
    "Options",
    "Scored",
    "figures_of",
    "geometry",
    "measure",
    "read_separation",
    "scored_pairs",
    "scored_parts",
    "separation",
    "told",
    "write_separation",
]


def measure(folder: Path, options: Options | None = None) -> dict[str, dict[str, Any]]:
    """The figures of every part of a task_scores folder, from its run and judgements; empty if its task does not rank.

    A part that has nothing relevant, or nothing else, is left out. Raises `ArtifactError` if a table cannot be read.
    """
    found = {}
    for part, pairs in scored_parts(folder).items():
        if pairs.relevant.any() and not pairs.relevant.all():
            found[part] = figures_of(pairs, options)
    return found


def figures_of(pairs: Scored, options: Options | None = None) -> dict[str, Any]:
    """`separation` of the protocol's pairs, with what they lack."""
    found = separation(pairs.queries, pairs.scores, pairs.relevant, options=options)
    found["pairs"] |= {"depth": DEPTH, "queries_with_fewer": pairs.shallow, "positives_without_score": pairs.unscored}
    if pairs.unscored:
        found["notes"].append(
            f"relevant documents that the run lacks and nothing else scores, left out: {pairs.unscored:,}; "
            "with them all figures would be lower"
        )
    return found
