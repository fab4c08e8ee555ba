"""The same as `kernels`, in Triton: one kernel that reads the logits twice and writes the weights once."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

WIDTH = 4096  # columns that a program reads at once


def exponentials(logits: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """See `kernels.exponentials`."""
    rows, columns = logits.shape
    weights = logits if dtype == logits.dtype else torch.empty_like(logits, dtype=dtype)
    top, total = logits.new_empty(rows), logits.new_empty(rows)
    if rows:
        with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]  # kernels run on the current device
            launch = _exponentials[(rows,)]
            launch(logits, weights, top, total, columns, logits.stride(0), weights.stride(0), WIDTH=WIDTH)
    return total.log() + top, weights, total


@triton.jit  # type: ignore[untyped-decorator]
def _exponentials(
    logits: Any,
    weights: Any,
    tops: Any,
    totals: Any,
    columns: Any,
    logits_stride: Any,
    weights_stride: Any,
    WIDTH: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, WIDTH)
    top = -3.4e38  # about the lowest float32; keeps −inf − top from being NaN
    total = 0.0
    for start in range(0, columns, WIDTH):
        inside = start + lane < columns
        part = tl.load(logits + row * logits_stride + start + lane, mask=inside, other=float("-inf"))
        higher = tl.maximum(top, tl.max(part, 0))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(part - higher), 0)
        top = higher
    for start in range(0, columns, WIDTH):
        inside = start + lane < columns
        part = tl.load(logits + row * logits_stride + start + lane, mask=inside, other=float("-inf"))
        weight = tl.exp(part - top).to(weights.dtype.element_ty)
        tl.store(weights + row * weights_stride + start + lane, weight, mask=inside)
    tl.store(tops + row, top)
    tl.store(totals + row, total)
