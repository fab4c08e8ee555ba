"""Exact quantiles of numbers that are never all held at once."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

BITS = 16  # of a number, settled by each pass over all of them
BINS = 1 << BITS
_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


def quantiles(parts: Callable[[], Iterable[Tensor]], fractions: Sequence[float], *, like: Tensor) -> list[float] | None:
    """Per fraction f: the number of rank ⌊f n⌋ (from 0, ascending) among the n in what `parts` yields at each call.

    Radix selection: each pass counts the numbers by their next 16 bits, among those that share the bits settled so far
    with the one sought: two passes over float32, four over float64. The numbers, NaN not among them, have the type and
    device of `like`. None if there are none.
    """
    integers = _INTEGERS[like.dtype]
    starts, ranks = [-(BINS // 2) for _ in fractions], [-1 for _ in fractions]
    for shift in range(torch.iinfo(integers).bits - BITS, -1, -BITS):
        counts = _counts(parts(), set(starts), shift, like)
        for i, fraction in enumerate(fractions):
            upto = counts[starts[i]].cumsum(0)
            if ranks[i] < 0:  # the first pass
                number = int(upto[-1])
                if number == 0:
                    return None
                ranks[i] = int(fraction * number)
            digit = int(torch.searchsorted(upto, ranks[i], right=True))
            ranks[i] -= int(upto[digit - 1]) if digit else 0
            starts[i] = (starts[i] + digit) << (BITS if shift else 0)
    return _flipped(torch.tensor(starts, dtype=integers, device="cpu")).view(like.dtype).tolist()


def _counts(parts: Iterable[Tensor], starts: set[int], shift: int, like: Tensor) -> dict[int, Tensor]:
    """Per start: (BINS,) how many numbers have start + i for the bits above the last `shift`."""
    counts = {start: torch.zeros(BINS, dtype=torch.int64, device=like.device) for start in starts}
    for part in parts:
        upper = _flipped(part.view(_INTEGERS[part.dtype])) >> shift
        for start, count in counts.items():
            bins = upper.clamp(start - 1, start + BINS) - (start - 1)  # the first and the last for all outside
            count += torch.bincount(bins, minlength=BINS + 2)[1:-1]
    return counts


def _flipped(bits: Tensor) -> Tensor:
    """Bits of floats <-> integers in the same order: of negative numbers all bits but the sign's are turned over."""
    info = torch.iinfo(bits.dtype)
    return bits ^ ((bits >> (info.bits - 1)) & info.max)
