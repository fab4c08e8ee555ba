"""How large a difference is, beside how sure one can be of it."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

_SAME: Final = 1e-9  # values of a query that differ by less are a tie


@dataclass(frozen=True)
class Record:
    """On how many queries the first system is better, equal, worse."""

    wins: int
    ties: int
    losses: int


def effect_size(difference: float, standard_error: float, units: int) -> float | None:
    """Cohen's d for pairs (d_z): the difference in standard deviations of one unit's contribution to it.

    Of a mean, a unit's contribution is its difference, and standard_error · √units is their standard deviation. Of a
    statistic of all items it is what the item moves the statistic by, to first order, and the standard error is the
    bootstrap's: d_z then says the same, that about (2.8 / d_z)² units are needed to find the difference at 5 % with a
    power of 80 %. None if it cannot be told: a difference that no unit varies from, or a single unit.

    Reference: Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, section 2.3.5;
    https://doi.org/10.3389/fpsyg.2013.00863, eq. 6.
    """
    if units < 2:
        return None
    deviation = standard_error * math.sqrt(units)
    if deviation <= 1e-12 * abs(difference) or not deviation:
        return 0.0 if difference == 0 else None
    return difference / deviation


def wins_ties_losses(differences: ArrayLike) -> Record:
    """How many differences are above, at and below zero."""
    values = np.asarray(differences, dtype=np.float64)
    wins, losses = int((values > _SAME).sum()), int((values < -_SAME).sum())
    return Record(wins, values.size - wins - losses, losses)
