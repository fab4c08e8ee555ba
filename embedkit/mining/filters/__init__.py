"""False-negative filters a recipe can name: which candidates are safe to use as negatives. Pure NumPy.

To add one: write its class, then add it to `AnyFilter`.
"""

from typing import Annotated

from pydantic import Field

from embedkit.mining.filters.agreement import Agreement
from embedkit.mining.filters.base import (
    NONE,
    Candidates,
    Doubles,
    Filter,
    Mask,
    PositiveReference,
    Rows,
    Scores,
    Verdicts,
    unique_names,
)
from embedkit.mining.filters.margins import Judge, MarginToPositive, PercentOfPositive, RankWindow, ScoreRange
from embedkit.mining.filters.structure import NearDuplicate, Owners, SaHa, SameGroup
from embedkit.mining.filters.votes import Vote

AnyFilter = Annotated[
    Agreement
    | PercentOfPositive
    | MarginToPositive
    | Judge
    | RankWindow
    | ScoreRange
    | NearDuplicate
    | SameGroup
    | Owners
    | SaHa
    | Vote,
    Field(discriminator="kind"),
]
Vote.model_rebuild()  # it holds any filters, votes included

__all__ = [
    "NONE",
    "Agreement",
    "AnyFilter",
    "Candidates",
    "Doubles",
    "Filter",
    "Judge",
    "MarginToPositive",
    "Mask",
    "NearDuplicate",
    "Owners",
    "PercentOfPositive",
    "PositiveReference",
    "RankWindow",
    "Rows",
    "SaHa",
    "SameGroup",
    "ScoreRange",
    "Scores",
    "Verdicts",
    "Vote",
    "unique_names",
]
