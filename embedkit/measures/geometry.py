"""How vectors lie on the unit sphere: spread evenly, and near what they belong with."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedkit.core.errors import DataError
from embedkit.measures.pairs import Floats

_ROWS: Final = 1024  # compared with all others at a time


def uniformity(vectors: ArrayLike, *, t: float = 2.0) -> float:
    """How evenly (N, D) vectors cover the sphere: ln mean e^(-t ||x - y||²) over all pairs of two of them.

    0 if all are one point; the lower the better, about -2t for even cover in many dimensions. Lengths do not count.
    Raises `DataError` for fewer than two vectors or one without a direction.
    Reference: https://arxiv.org/abs/2005.10242, eq. 3 (Wang & Isola 2020; t = 2).
    """
    unit = directions(vectors)
    if len(unit) < 2:
        raise DataError(f"uniformity compares vectors with each other and needs two; found {len(unit)}")
    total = 0.0
    for start in range(0, len(unit), _ROWS):
        rows = unit[start : start + _ROWS]
        kernel = np.exp(2 * t * (rows @ unit.T - 1))  # ||x - y||² = 2 - 2 x·y
        total += float(kernel.sum()) - float(np.trace(kernel[:, start : start + len(rows)]))
    return float(np.log(total / (len(unit) * (len(unit) - 1))))


def alignment(queries: ArrayLike, documents: ArrayLike) -> float:
    """Mean squared distance of (n, D) queries from their (n, D) relevant documents, lengths not counted: from 0, all
    in one place, to 4. Reference: https://arxiv.org/abs/2005.10242, eq. 2 (α = 2)."""
    return 2.0 - 2.0 * tolerance(queries, documents)


def tolerance(queries: ArrayLike, documents: ArrayLike) -> float:
    """Mean cosine of (n, D) queries and their (n, D) relevant documents: 1 - alignment / 2.

    The paper's pairs are any two of one class; here a query and what is relevant to it are one.
    Reference: https://arxiv.org/abs/2012.09740, section 3.3 (Wang & Liu 2021).
    """
    a, b = directions(queries), directions(documents)
    if a.shape != b.shape or not len(a):
        raise DataError(f"each query needs its document; found {a.shape} and {b.shape}")
    return float(np.einsum("ij,ij->i", a, b).mean())


def togetherness(documents: ArrayLike, queries: ArrayLike) -> float | None:
    """Mean cosine of two documents that are relevant to the same query; None if no query has two.

    Tolerance of the documents alone, each query being a class. `queries` (n,) are numbers.
    Reference: https://arxiv.org/abs/2012.09740, section 3.3.
    """
    unit, codes = directions(documents), np.unique(np.asarray(queries, np.int64), return_inverse=True)[1]
    sizes = np.bincount(codes).astype(np.float64)
    pairs = float((sizes * (sizes - 1)).sum())
    if not pairs:
        return None
    sums = np.zeros((len(sizes), unit.shape[1]))
    np.add.at(sums, codes, unit)
    return (float((sums**2).sum()) - len(unit)) / pairs


def directions(vectors: ArrayLike) -> Floats:
    """(N, D) vectors at length 1. Raises `DataError` if one has none, or is not finite."""
    array: NDArray[np.float64] = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    wrong = ~((lengths[:, 0] > 0) & np.isfinite(lengths[:, 0]))
    if wrong.any():
        raise DataError(
            f"vector {int(wrong.argmax())} has length {lengths[wrong.argmax(), 0]}; a direction needs a positive one"
        )
    found: Floats = array / lengths
    return found
