"""Agreement of several filters."""

from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator

from embedkit.mining.filters.base import Candidates, Filter, Mask, Verdicts, unique_names

if TYPE_CHECKING:
    from embedkit.mining.filters import AnyFilter

_MOST = 5  # filters that vote; what they can agree on doubles with each


class Vote(Filter):
    """Drop candidates that at least `votes` of several filters would drop: 1, any of them; as many as there are, all.

    Each filter is a rule with a signal of its own, as a margin by the encoder and a judge by each of two
    cross-encoders. A filter that cannot score a candidate votes as it does alone. A dropped candidate is a suspect if
    any of the filters has it for relevant. Its reason names the filters that agreed, as vote(judge+same_group).
    """

    kind: Literal["vote"] = "vote"
    votes: PositiveInt
    filters: Annotated[tuple["AnyFilter", ...], Field(min_length=2, max_length=_MOST)]

    @model_validator(mode="after")
    def _check(self) -> "Vote":
        if self.votes > len(self.filters):
            raise ValueError(f"votes is {self.votes}, and there are {len(self.filters)} filters to vote")
        return self

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(signal for rule in self.filters for signal in rule.signals))

    @property
    def reasons(self) -> tuple[str, ...]:
        voters = unique_names([rule.kind for rule in self.filters])
        return tuple(f"vote({'+'.join(voters[i] for i in agreed)})" for agreed in self._agreements)

    def __call__(self, candidates: Candidates) -> Mask:
        mask: Mask = self.verdicts(candidates) == 0
        return mask

    def verdicts(self, candidates: Candidates) -> Verdicts:
        """See the base class."""
        ballot: NDArray[np.int64] = np.zeros(candidates.rows.shape, dtype=np.int64)  # a bit for each filter
        for bit, rule in enumerate(self.filters):
            ballot |= (rule.verdicts(candidates) > 0).astype(np.int64) << bit
        reasons = np.zeros(1 << len(self.filters), dtype=np.int16)
        for number, agreed in enumerate(self._agreements, start=1):
            reasons[sum(1 << bit for bit in agreed)] = number
        return reasons[ballot]

    def suspects(self, candidates: Candidates) -> Mask:
        suspected: Mask = np.logical_or.reduce([rule.suspects(candidates) for rule in self.filters])
        return suspected & ~self(candidates)

    @property
    def _agreements(self) -> list[tuple[int, ...]]:
        """Every set of filters that is enough to drop a candidate."""
        sizes = range(self.votes, len(self.filters) + 1)
        return [agreed for size in sizes for agreed in combinations(range(len(self.filters)), size)]
