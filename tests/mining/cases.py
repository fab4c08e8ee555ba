"""Candidates made up for tests."""

import numpy as np

from embedkit.mining.filters import NONE, Candidates


def candidates(scores, positives, *, known=None, rows=None, ids=None) -> Candidates:
    """Candidates from lists of scores; by default rows count up and nothing is known to be relevant."""
    scores = np.array(scores, dtype=np.float32)
    if rows is None:
        rows = np.tile(np.arange(scores.shape[1]), (len(scores), 1))
    known = np.zeros(scores.shape, dtype=bool) if known is None else np.array(known, dtype=bool)
    return Candidates(
        query_ids=ids or [f"q{i}" for i in range(len(scores))],
        rows=np.array(rows, dtype=np.int64),
        scores={"encoder": scores},
        positives={"encoder": [np.array(p, dtype=np.float32) for p in positives]},
        excluded={"known_positive": known},
    )


def random_candidates(seed: int, *, queries: int = 6, width: int = 12) -> Candidates:
    """Scores of both signs, best first, a few NaN, empty places behind, some known positives."""
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.uniform(-1, 1, (queries, width)), axis=1)
    scores[rng.random(scores.shape) < 0.05] = np.nan
    rows = np.array([rng.permutation(100)[:width] for _ in range(queries)])
    rows[0, width // 2 :] = NONE
    positives = [rng.uniform(-1, 1, rng.integers(1, 4)) for _ in range(queries)]
    return candidates(scores, positives, known=(rng.random(scores.shape) < 0.2) & (rows != NONE), rows=rows)
