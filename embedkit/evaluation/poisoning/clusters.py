"""Which of some suspected texts are nearly the same: one hand often writes many."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from embedkit.core.shingles import jaccard, shingles

LIKE: Final = 0.3  # Jaccard similarity of runs of three words; unrelated texts of one field are below 0.05


def clusters(texts: Sequence[str], *, least: float = LIKE) -> list[int | None]:
    """The number of each text's cluster, from 1, in the order in which they begin; None for a text that is alone.

    Texts are in one cluster if a chain of pairs leads from one to the other, each at least `least` alike. Every pair is
    compared: this is for hundreds of texts.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    sets = [shingles(text) for text in texts]
    n = len(texts)
    like = [(i, j) for i in range(n) for j in range(i) if jaccard(sets[i], sets[j]) >= least]
    pairs = np.array(like, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    sizes, numbers = np.bincount(labels, minlength=1), dict[int, int]()
    found: list[int | None] = []
    for label in labels.tolist():
        alone = sizes[label] == 1
        found.append(None if alone else numbers.setdefault(label, len(numbers) + 1))
    return found
