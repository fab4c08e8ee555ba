"""Ways to make one model of several, tensor by tensor: uniform, weighted, slerp, task arithmetic, TIES, DARE.

Each method is a pure function of one tensor of every member, in float32 or wider. Methods with a base work on what
each member learned, V_i = θ_i − θ₀, where θ₀ is the model all members started from. To add a method: write its
class, then add it to `AnySoup`.
"""

import abc
import hashlib
import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, model_validator
from torch import Tensor

from embedkit.core.spec import ModelRef, Spec

PARALLEL = 0.9995  # |cos| from which two tensors count as parallel, where slerp is ill-conditioned

Weights = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]


class Merge(Spec, abc.ABC):
    """A way to merge n members."""

    kind: str

    def problem(self, count: int) -> str | None:
        """Why `count` members cannot be merged this way, if they cannot."""
        return None

    @abc.abstractmethod
    def shares(self, count: int) -> tuple[float, ...]:
        """Each member's part in the result: the coefficient of θ_i, or of V_i where the method has a base."""

    @abc.abstractmethod
    def combine(self, tensors: Sequence[Tensor], name: str) -> Tensor:
        """One tensor of n of one shape: of the members' θ_i, or of their V_i. `name` is the tensor's in the model."""


class BaseMerge(Merge, abc.ABC):
    """A way to merge what members learned: θ = θ₀ + λ · combine(V_1 ... V_n)."""

    base: ModelRef
    scale: float = 1.0  # λ


def merge_tensors(method: Merge, members: Sequence[Tensor], base: Tensor | None, name: str) -> Tensor:
    """The merged tensor, of the members' shape and dtype. Computed in float32, or the members' dtype if wider."""
    dtype = torch.promote_types(members[0].dtype, torch.float32)
    wide = [member.to(dtype) for member in members]
    if isinstance(method, BaseMerge):
        if base is None:
            raise ValueError(f"{method.kind} needs the base model's tensor {name!r}")
        start = base.to(dtype)
        merged = start + method.scale * method.combine([member - start for member in wide], name)
    else:
        merged = method.combine(wide, name)
    return merged.to(members[0].dtype)


class Uniform(Merge):
    """The mean: θ = 1/n Σ_i θ_i.

    Reference: https://arxiv.org/abs/2203.05482, section 2.
    """

    kind: Literal["uniform"] = "uniform"

    def shares(self, count: int) -> tuple[float, ...]:
        """1/n each."""
        return (1 / count,) * count

    def combine(self, tensors: Sequence[Tensor], name: str) -> Tensor:
        """The mean."""
        return weighted_mean(tensors, (1.0,) * len(tensors))


class Weighted(Merge):
    """A weighted mean: θ = Σ_i w_i θ_i / Σ_i w_i, weights in the order of the members."""

    kind: Literal["weighted"] = "weighted"
    weights: Weights

    @model_validator(mode="after")
    def _has_a_total(self) -> "Weighted":
        if not sum(self.weights) > 0:
            raise ValueError(f"weights {list(self.weights)} sum to 0; at least one must be above 0")
        return self

    def problem(self, count: int) -> str | None:
        """A count of weights other than n."""
        return _wrong_count(self.weights, count)

    def shares(self, count: int) -> tuple[float, ...]:
        """The weights, made to sum to 1."""
        return tuple(weight / math.fsum(self.weights) for weight in self.weights)

    def combine(self, tensors: Sequence[Tensor], name: str) -> Tensor:
        """The weighted mean."""
        return weighted_mean(tensors, self.weights)


class Slerp(Merge):
    """Spherical interpolation of two models, tensor by tensor, on tensors as they are.

        θ = [ sin((1 − t) α) θ_1 + sin(t α) θ_2 ] / sin α,   cos α = θ_1 · θ_2 / (‖θ_1‖ ‖θ_2‖)

    Where |cos α| > 0.9995 or a tensor is zero: θ = (1 − t) θ_1 + t θ_2.
    Reference: https://doi.org/10.1145/325334.325242 (Shoemake, 1985).
    """

    kind: Literal["slerp"] = "slerp"
    t: Annotated[float, Field(ge=0, le=1)] = 0.5

    def problem(self, count: int) -> str | None:
        """Any number of models but two."""
        return None if count == 2 else f"slerp merges 2 models, not {count}"

    def shares(self, count: int) -> tuple[float, ...]:
        """1 − t and t."""
        return (1 - self.t, self.t)

    def combine(self, tensors: Sequence[Tensor], name: str) -> Tensor:
        """The point at t on the arc from the first tensor to the second."""
        first, second = tensors
        norms = _norm(first) * _norm(second)
        cosine = float(torch.sum(first * second, dtype=torch.float64)) / norms if norms > 0 else 1.0
        if abs(cosine) > PARALLEL:
            return torch.lerp(first, second, self.t)
        angle = math.acos(cosine)
        return (math.sin((1 - self.t) * angle) * first + math.sin(self.t * angle) * second) / math.sin(angle)


class TaskArithmetic(BaseMerge):
    """The weighted sum of what members learned: θ = θ₀ + λ Σ_i w_i V_i; w_i = 1 unless given, not normalised.

    Reference: https://arxiv.org/abs/2212.04089, section 2.
    """

    kind: Literal["task_arithmetic"] = "task_arithmetic"
    weights: Annotated[tuple[float, ...], Field(min_length=1)] | None = None

    def problem(self, count: int) -> str | None:
        """A count of weights other than n."""
        return _wrong_count(self.weights, count) if self.weights is not None else None

    def shares(self, count: int) -> tuple[float, ...]:
        """λ w_i."""
        return tuple(self.scale * weight for weight in self.weights or (1.0,) * count)

    def combine(self, tensors: Sequence[Tensor], name: str) -> Tensor:
        """The weighted sum."""
        total = torch.zeros_like(tensors[0])
        for tensor, weight in zip(tensors, self.weights or (1.0,) * len(tensors), strict=True):
            total.add_(tensor, alpha=weight)
        return total


class Ties(BaseMerge):
    """Trim, elect sign, disjoint mean.

    Per tensor, each V_i keeps its `density` largest entries by magnitude, the others become 0. An entry's sign is
    that of Σ_i V_i (+ if the sum is 0); the result is the mean of the non-zero entries of that sign, 0 if none.
    Reference: https://arxiv.org/abs/2306.01708, algorithm 1.
    """

    kind: Literal["ties"] = "ties"
    density: Annotated[float, Field(gt=0, le=1)] = 0.2

    def shares(self, count: int) -> tuple[float, ...]:
        """λ/n each: what a member has where all agree."""
        return (self.scale / count,) * count

    def combine(self, tensors: Sequence[Tensor], name: str) -> Tensor:
        """The mean of what remains and agrees."""
        trimmed = [_trim(tensor, self.density) for tensor in tensors]
        positive = sum(trimmed[1:], start=trimmed[0]) >= 0
        total, agreeing = torch.zeros_like(trimmed[0]), torch.zeros_like(trimmed[0])
        for tensor in trimmed:
            agrees = (tensor != 0) & ((tensor > 0) == positive)
            total += torch.where(agrees, tensor, 0)
            agreeing += agrees
        return total / agreeing.clamp(min=1)


class Dare(BaseMerge):
    """Drop and rescale: θ = θ₀ + λ Σ_i m_i ⊙ V_i / (1 − p), m_i ∈ {0, 1}, each entry 0 with probability p.

    λ = 1/n gives the mean of the members in expectation. The masks depend on the seed, the tensor's name and the
    member's place only.
    Reference: https://arxiv.org/abs/2311.03099, section 3.2.
    """

    kind: Literal["dare"] = "dare"
    drop: Annotated[float, Field(ge=0, lt=1)] = 0.5  # p
    seed: NonNegativeInt

    def shares(self, count: int) -> tuple[float, ...]:
        """λ each, in expectation."""
        return (self.scale,) * count

    def combine(self, tensors: Sequence[Tensor], name: str) -> Tensor:
        """The sum of what is kept, rescaled."""
        total = torch.zeros_like(tensors[0])
        for place, tensor in enumerate(tensors):
            total += torch.where(self.kept(tensor.shape, name, place), tensor / (1 - self.drop), 0)
        return total

    def kept(self, shape: torch.Size, name: str, place: int) -> Tensor:
        """The mask m_i of one tensor of the member at `place`, bool."""
        seed = hashlib.sha256(f"{self.seed}/{place}/{name}".encode()).digest()[:8]
        generator = torch.Generator().manual_seed(int.from_bytes(seed, "big", signed=True))
        return torch.rand(shape, generator=generator) >= self.drop


def weighted_mean(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Σ_i w_i x_i / Σ_i w_i as a running mean, m ← m + (x_i − m) w_i / Σ_{j≤i} w_j: exact if all x_i are equal."""
    mean, total = torch.zeros_like(tensors[0]), 0.0
    for tensor, weight in zip(tensors, weights, strict=True):
        if weight > 0:
            total += weight
            mean = mean + (tensor - mean) * (weight / total)
    return mean


def _wrong_count(weights: Sequence[float], count: int) -> str | None:
    return None if len(weights) == count else f"{len(weights)} weights for {count} models; there must be one for each"


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


def _trim(tensor: Tensor, density: float) -> Tensor:
    """`tensor` with all but its `density` largest entries by magnitude set to 0; of equals the first are kept."""
    keep = max(1, round(density * tensor.numel()))
    order = torch.sort(tensor.abs().flatten(), descending=True, stable=True).indices[:keep]
    trimmed = torch.zeros_like(tensor).flatten()
    trimmed[order] = tensor.flatten()[order]
    return trimmed.view_as(tensor)
