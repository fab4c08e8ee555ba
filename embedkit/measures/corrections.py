"""Correction of p-values for how many there are."""

from collections.abc import Sequence

from embedkit.core.errors import DataError


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: those below α keep the chance of any false find below α.

    With m p-values in rising order, adjusted_i = max over j ≤ i of min(1, (m - j + 1) p_j). Whatever their dependence.
    Raises `DataError` if one is not in [0, 1]. Reference: Holm, A Simple Sequentially Rejective Multiple Test
    Procedure, 1979, https://www.jstor.org/stable/4615733.
    """
    if wrong := [p for p in p_values if not 0 <= p <= 1]:
        raise DataError(f"p-values are from 0 to 1; found {wrong[0]!r}")
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted
