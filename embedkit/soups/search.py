"""Choosing the members of a soup by a score on held-out data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from embedkit.core.spec import DatasetRef, Spec
from embedkit.retrieval.index import AnyIndex, Exact

Members = tuple[int, ...]  # places of models in the recipe's list, ascending


class Greedy(Spec):
    """The greedy soup: models from the best to the worst, each kept if the mean of the kept then scores higher.

    A model is kept only if the held-out metric strictly rises; kept models weigh the same. The result is never worse
    on the held-out queries than the best single model.
    Reference: https://arxiv.org/abs/2203.05482, recipe 1 (which also keeps a model that leaves the metric as it is).
    """

    kind: Literal["greedy"] = "greedy"
    data: DatasetRef
    split: Literal["train", "dev"] = "dev"
    metric: Annotated[str, Field(pattern=r"^(ndcg|mrr|map|recall|precision)@([1-9][0-9]{0,2}|1000)$")] = "ndcg@10"
    index: AnyIndex = Exact()


@dataclass(frozen=True)
class Trial:
    """One soup that was scored."""

    members: Members
    score: float
    kept: bool  # whether the soup became the best so far


@dataclass(frozen=True)
class Choice:
    """What a greedy search found."""

    members: Members
    score: float
    trials: tuple[Trial, ...]  # first the models alone, in the order of the recipe, then the soups


def greedy(count: int, score: Callable[[Members], float]) -> Choice:
    """Search the soups of `count` models; `score` gives the held-out metric of the mean of some of them.

    Models of equal score are tried in the order of the recipe.
    """
    alone = [score((place,)) for place in range(count)]
    order = sorted(range(count), key=lambda place: (-alone[place], place))
    chosen: Members = (order[0],)
    best = alone[order[0]]
    trials = [Trial((place,), alone[place], kept=place == order[0]) for place in range(count)]
    for place in order[1:]:
        candidate = tuple(sorted((*chosen, place)))
        found = score(candidate)
        trials.append(Trial(candidate, found, kept=found > best))
        if found > best:
            chosen, best = candidate, found
    return Choice(chosen, best, tuple(trials))


def equal_shares(members: Sequence[int], count: int) -> tuple[float, ...]:
    """1/k for each of the k chosen of `count` models, 0 for the others."""
    return tuple(1 / len(members) if place in members else 0.0 for place in range(count))
