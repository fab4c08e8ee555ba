"""Scored pairs to try things on."""

import numpy as np

from embedkit.measures.pairs import Pairs


def draw(queries=40, others=30, *, shift=0.0, gap=1.0, positives=2, seed=0, digits=None):
    """(queries, scores, relevant) of `queries` queries: normal scores, relevant ones `gap` higher, each query's all
    moved by a normal shift."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(queries), positives + others)
    relevant = np.tile(np.arange(positives + others) < positives, queries)
    scores = rng.normal(size=len(codes)) + gap * relevant + rng.normal(0, shift, queries)[codes]
    return codes, scores if digits is None else scores.round(digits), relevant


def pairs(*args, **options):
    return Pairs.of(*draw(*args, **options))
