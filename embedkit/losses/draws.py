"""Random numbers that are a function of what they are drawn for: no order, tile or process changes them."""

import torch
from torch import Tensor

# SplitMix64 (https://doi.org/10.1145/2714064.2660195), whose numbers are unsigned; tensors hold the same bits, signed.
_STEP = 0x9E3779B97F4A7C15 - 2**64
_FACTORS = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))
_KEPT = 23  # bits of a uniform: with the half it is exact in float32, and so the same in all types


def hashed(seed: int, *keys: Tensor | int) -> Tensor:
    """(n,) int64 of random bits: a hash of the seed and of each of n tuples of `keys`, (n,) int64 or one for all."""
    like = next(key for key in keys if isinstance(key, Tensor))
    state = _mixed(torch.full_like(like, seed))
    for key in keys:
        state = _mixed(state ^ key)
    return state


def places(sizes: Tensor, seed: int, *keys: Tensor | int) -> Tensor:
    """(n,) int64, uniform from 0 to below each of `sizes`."""
    return _shifted(hashed(seed, *keys), 1) % sizes


def uniforms(seed: int, *keys: Tensor | int, dtype: torch.dtype) -> Tensor:
    """(n,), uniform between 0 and 1, never either."""
    steps = _shifted(hashed(seed, *keys), 64 - _KEPT).to(dtype)
    return (steps + 0.5) / (1 << _KEPT)


def betas(seed: int, *keys: Tensor | int, dtype: torch.dtype) -> Tensor:
    """(n,) of the distribution Beta(2, 2): the middle one of three uniforms."""
    return torch.stack([uniforms(seed, *keys, draw, dtype=dtype) for draw in range(3)]).median(0).values


def _mixed(bits: Tensor) -> Tensor:
    bits = bits + _STEP
    for shift, factor in _FACTORS:
        bits = (bits ^ _shifted(bits, shift)) * factor
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shifted right as unsigned numbers are."""
    return (bits >> by) & ((1 << 64 - by) - 1)
