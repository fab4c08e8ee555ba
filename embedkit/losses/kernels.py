"""From logits to softmax weights in one place: torch, or a fused kernel on a GPU that has Triton."""

from importlib.util import find_spec

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)
_PART = 16_384  # rows that a rounded product adds to its sum at once, so that no second sum lies in memory


def exponentials(logits: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """(R, C) logits -> (R,) log Σ_j e^logit, (R, C) weights e^{logit − top} of `dtype`, and their (R,) sums.

    −inf has weight 0; a row of nothing else sums to 0, with a log of −inf. `logits` is overwritten where the weights
    can take its place.
    """
    if logits.is_cuda and logits.dtype == torch.float32 and find_spec("triton"):
        from embedkit.losses import fused

        return fused.exponentials(logits, dtype)
    top = logits.amax(1).clamp(min=torch.finfo(logits.dtype).min)
    weights = logits.sub_(top[:, None]).exp_()
    total = weights.sum(1)
    return total.log() + top, weights.to(dtype), total


def product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """`left @ right`, summed in float32 or wider; factors are rounded to `dtype` if that is half precision."""
    if dtype not in HALF:
        return left @ right
    result: Tensor = torch.mm(left.to(dtype), right.to(dtype), out_dtype=torch.float32)
    return result


def add_product(total: Tensor, left: Tensor, right: Tensor, dtype: torch.dtype) -> None:
    """`total += product(left, right, dtype)` in little more memory."""
    if dtype not in HALF:
        total.addmm_(left, right)
        return
    for start in range(0, len(left), _PART):
        total[start : start + _PART] += product(left[start : start + _PART], right, dtype)


def half_products(device: torch.device) -> bool:
    """Whether products of rounded factors can be summed in float32 there: on a GPU with bfloat16, from torch 2.8 on."""
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    return device.type == "cuda" and version >= (2, 8) and torch.cuda.get_device_capability(device) >= (8, 0)
