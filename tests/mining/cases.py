"""Candidates made up for tests."""

from dataclasses import replace

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


def signalled(scores, positives, **signals) -> Candidates:
    """The same with further signals: name -> (scores of candidates, scores of positives)."""
    made = candidates(scores, positives)
    more = {name: np.array(found, dtype=np.float32) for name, (found, _) in signals.items()}
    own = {name: [np.array(p, dtype=np.float32) for p in lists] for name, (_, lists) in signals.items()}
    return replace(made, scores={**made.scores, **more}, positives={**made.positives, **own})


def query_of(made: Candidates, queries: slice) -> Candidates:
    """These queries alone."""
    return Candidates(
        query_ids=made.query_ids[queries],
        rows=made.rows[queries],
        scores={name: scores[queries] for name, scores in made.scores.items()},
        positives={name: lists[queries] for name, lists in made.positives.items()},
        excluded={reason: mask[queries] for reason, mask in made.excluded.items()},
    )


def random_candidates(seed: int, *, queries: int = 6, width: int = 12) -> Candidates:
    """Scores of both signs, best first, a few NaN, empty places behind, some known positives, every built-in signal."""
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.uniform(-1, 1, (queries, width)), axis=1)
    scores[rng.random(scores.shape) < 0.05] = np.nan
    rows = np.array([rng.permutation(100)[:width] for _ in range(queries)])
    rows[0, width // 2 :] = NONE
    positives = [rng.uniform(-1, 1, rng.integers(1, 4)) for _ in range(queries)]
    made = candidates(scores, positives, known=(rng.random(scores.shape) < 0.2) & (rows != NONE), rows=rows)

    def some(low: float, high: float, gaps: float) -> np.ndarray:
        found = rng.uniform(low, high, scores.shape)
        found[rng.random(scores.shape) < gaps] = np.nan
        return found.astype(np.float32)

    signals = {
        "judged": some(-3, 3, 0.05),
        "positive_similarity": some(0, 1, 0.0),
        "owner_similarity": some(-1, 1, 0.4),
        "same_group": np.where(some(0, 1, 0.2) > 0.7, 1, 0).astype(np.float32),
    }
    own = {name: [rng.uniform(-1, 1, len(p)) for p in positives] for name in signals}
    return replace(made, scores={**made.scores, **signals}, positives={**made.positives, **own})
