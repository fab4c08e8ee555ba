"""Σ of softplus over all pairs of a positive and a negative logit, without the matrix of pairs."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv1d, logsigmoid, pad

Evaluation = Literal["auto", "pairs", "fast"]

_WIDTH = 0.5  # of a cell, in logits
_TERMS = 8  # of a polynomial in a cell
_REACH = 80  # cells: from 40 logits apart on, softplus is its argument, or zero (e⁻⁴⁰ = 4e-18)
_MARGIN = 41.0  # logits: beyond the reach of every positive
_MOST_CELLS = 1 << 18  # tables of 16 MB
_CELL_COST, _POINT_COST = 2000, 8  # in visits of a pair
_COUNTERS = 1 << 13  # into which a moment is summed: many points of one cell in a row would wait for each other
_CONVOLVED = 512  # cells at once, as conv1d copies each with all in reach


class PairSums(NamedTuple):
    """Σ_p Σ_n log(1 + e^{n − p}) in float64, its derivatives in the type of the logits."""

    value: Tensor  # ()
    to_positive: Tensor  # (P,)
    to_negative: Tensor  # (N,)


def pair_sums(positive: Tensor, negative: Tensor, evaluation: Evaluation = "auto") -> PairSums:
    """Of logits (P,) and (N,), −inf where a negative is absent. The derivatives take the place of `negative`.

    `pairs` visits every pair, in blocks, and sums in float64. `fast` takes time in proportion to P + N: the line of
    logits is cut into cells of width ½. For points of two cells the kernel is a polynomial of degree 7 in either
    logit, interpolated at Chebyshev points; so the points of a cell matter by their first 8 moments alone, and a
    convolution of the moments gives every cell's polynomial. The poles of softplus, ±iπ, are far from a cell: value
    and derivatives are within 1e-10 of themselves, plus 1e-17 a pair for those dropped because they lie 40 apart.
    Where the positives spread over more than 1e5 it gives way to `pairs`. `auto` takes what is quicker.
    """
    grid = None if evaluation == "pairs" or not (len(positive) and len(negative)) else _Grid.around(positive, negative)
    if grid is None:
        return _by_pairs(positive, negative)
    cost = _POINT_COST * (len(positive) + len(negative)) + _CELL_COST * grid.cells
    if evaluation == "auto" and len(positive) * len(negative) < cost:
        return _by_pairs(positive, negative)
    return _by_cells(positive, negative, grid)


def _by_pairs(positive: Tensor, negative: Tensor) -> PairSums:
    value = positive.new_zeros((), dtype=torch.float64)
    to_positive = torch.zeros_like(positive, dtype=torch.float64)
    side = math.isqrt(_block_size(positive))
    for part in _blocks(negative, side):
        total = torch.zeros_like(part, dtype=torch.float64)
        for others, to_others in zip(_blocks(positive, side), _blocks(to_positive, side), strict=True):
            differences = others[:, None] - part
            value -= logsigmoid(differences).sum(dtype=torch.float64)
            slopes = differences.neg_().sigmoid_()
            to_others -= slopes.sum(1, dtype=torch.float64)
            total += slopes.sum(0, dtype=torch.float64)
        part.copy_(total)
    return PairSums(value, to_positive.to(positive.dtype), negative)


def _by_cells(positive: Tensor, negative: Tensor, grid: "_Grid") -> PairSums:
    of_positive, of_negative = grid.moments(positive), grid.moments(negative)
    near = (of_negative * _convolved(of_positive, _softplus)).sum()
    # Of cells out of reach, the kernel is the difference of the logits, or zero; its slope is one, or zero.
    number, total = grid.number_and_sum(of_positive)
    numbers, totals = grid.number_and_sum(of_negative)
    lower = _before(number)
    far = (totals * lower - numbers * _before(total)).sum()
    higher = _before(numbers.flip(0)).flip(0)
    slopes = _convolved(of_positive, torch.sigmoid)
    slopes[0] += lower
    slopes_of_positive = _convolved(of_negative, lambda difference: -torch.sigmoid(-difference))
    slopes_of_positive[0] -= higher
    value = near + far + len(positive) * grid.excess(negative)
    to_positive = grid.replace(positive.clone(), slopes_of_positive)
    return PairSums(value, to_positive, grid.replace(negative, slopes))


@dataclass(frozen=True)
class _Grid:
    """Cells of equal width; logits beyond both ends count as being in the outermost cell."""

    low: float
    cells: int

    @classmethod
    def around(cls, positive: Tensor, negative: Tensor) -> "_Grid | None":
        """A grid whose outermost cells are out of reach of every positive; None if impossible or too large."""
        low, high, top = torch.stack([*positive.aminmax(), negative.max()]).tolist()
        if not math.isfinite(high - low) or not top < math.inf:  # NaN and overflow are for the pairs to show
            return None
        cells = int((high - low + 2 * _MARGIN) / _WIDTH) + 1
        return cls(low - _MARGIN, cells) if cells <= _MOST_CELLS else None

    def places(self, points: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Block by block: the cell of each point, and where in the cell it is, from −1 to 1."""
        for part in _blocks(points):
            place = (part.double() - self.low).div_(_WIDTH).clamp_(0, self.cells - 0.5)
            cell = place.long()
            yield cell, place.sub_(cell).mul_(2).sub_(1)

    def moments(self, points: Tensor) -> Tensor:
        """(T, cells): Σ place^t over the points of each cell."""
        lanes = max(1, _COUNTERS // self.cells)
        lane = torch.arange(min(len(points), _block_size(points)), device=points.device) % lanes * self.cells
        sums = points.new_zeros(_TERMS, lanes * self.cells, dtype=torch.float64)
        for cell, place in self.places(points):
            cell += lane[: len(cell)]
            power = torch.ones_like(place)
            for moment in sums:
                moment.scatter_add_(0, cell, power)
                power *= place
        return sums.view(_TERMS, lanes, self.cells).sum(1)

    def replace(self, points: Tensor, coefficients: Tensor) -> Tensor:
        """`points`, each overwritten by the polynomial of its cell at it, given as (T, cells)."""
        for part, (cell, place) in zip(_blocks(points), self.places(points), strict=True):
            value = coefficients[-1].index_select(0, cell)  # on a CPU several times faster than [cell]
            for coefficient in coefficients[:-1].flip(0):
                value = value.mul_(place).add_(coefficient.index_select(0, cell))
            part.copy_(value)
        return points

    def number_and_sum(self, moments: Tensor) -> tuple[Tensor, Tensor]:
        """(cells,) each: how many points a cell has, and the sum of their distances from `low`."""
        centres = (torch.arange(self.cells, device=moments.device, dtype=moments.dtype) + 0.5) * _WIDTH
        return moments[0], moments[0] * centres + moments[1] * (_WIDTH / 2)

    def excess(self, points: Tensor) -> Tensor:
        """(): by how much the points lie above the place they count as, together."""
        top = self.low + (self.cells - 0.5) * _WIDTH
        return torch.stack([(part.double() - top).clamp_(min=0).sum() for part in _blocks(points)]).sum()


def _convolved(moments: Tensor, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """(T, cells) moments of x -> (T, cells) coefficients of Σ_x kernel(y − x) over the x within reach of y's cell."""
    powers = torch.arange(_TERMS, device=moments.device, dtype=moments.dtype)
    nodes = ((powers + 0.5) * (math.pi / _TERMS)).cos()
    interpolation = torch.linalg.inv(nodes[:, None] ** powers)  # values at nodes -> coefficients
    cells = torch.arange(_REACH, -_REACH - 1, -1, device=moments.device)  # of y, counted from x's
    values = kernel(cells[:, None, None] * _WIDTH + (nodes[:, None] - nodes) * (_WIDTH / 2))  # (cells, y, x)
    weights = (interpolation @ values @ interpolation.T).permute(1, 2, 0)
    padded = pad(moments, (_REACH, _REACH))[None]
    starts = range(0, moments.shape[1], _CONVOLVED)
    return torch.cat([conv1d(padded[..., s : s + _CONVOLVED + 2 * _REACH], weights)[0] for s in starts], dim=1)


def _before(values: Tensor) -> Tensor:
    """(cells,) -> (cells,): the sum over cells that are lower by more than the reach."""
    return pad(values.cumsum(0), (_REACH + 1, 0))[: len(values)]


def _softplus(values: Tensor) -> Tensor:
    return -logsigmoid(-values)  # torch's softplus is only exact to 1e-10


def _blocks(values: Tensor, size: int | None = None) -> list[Tensor]:
    size = size or _block_size(values)
    return [values[start : start + size] for start in range(0, len(values), size)]


def _block_size(like: Tensor) -> int:
    """Numbers to work on at once: what a CPU's cache holds, or what keeps a GPU busy."""
    return 1 << (16 if like.device.type == "cpu" else 24)
