"""Does one contributor have more than a share of something?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Doubles = NDArray[np.float64]


def share_tails(counts: Sequence[int] | Rows, share: float) -> Doubles:
    """(c,) chance that a contributor with this share of all Σ counts rows gives as many: P(Binomial(n, share) ≥ count).

    Small values: it gave more than its share.
    """
    from scipy.stats import binom

    given = np.asarray(counts, dtype=np.int64)
    return np.asarray(binom.sf(given - 1, int(given.sum()), share), dtype=np.float64)


def flagged_tails(flagged: Sequence[int] | Rows, counts: Sequence[int] | Rows) -> Doubles:
    """(c,) chance of as many flagged rows among a contributor's, were all flagged rows dealt out at random.

    The hypergeometric tail: binomial with the others' rate, given how many are flagged in all, so that the rate need
    not be known. Small values: more of its rows are flagged than of others'.
    """
    from scipy.stats import hypergeom

    bad, given = np.asarray(flagged, dtype=np.int64), np.asarray(counts, dtype=np.int64)
    return np.asarray(hypergeom.sf(bad - 1, int(given.sum()), int(bad.sum()), given), dtype=np.float64)
