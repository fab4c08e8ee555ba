"""Memory that is free, given back to the system."""

import ctypes
import gc
from functools import cache
from typing import Any

import pyarrow as pa


def release(*, cycles: bool = True) -> None:
    """Give back what allocators keep for later: Arrow's cannot use what Python and NumPy have freed, nor they its.

    Without it, work in phases takes the sum of what its phases need, with it the most that one of them needs. Takes
    milliseconds; but looking for `cycles`, objects that hold each other, takes longer the more objects there are.
    """
    if cycles:
        gc.collect()
    pa.default_memory_pool().release_unused()
    if trim := _trim():
        trim(0)


@cache
def _trim() -> Any:
    """glibc's malloc_trim; None where the C library is another."""
    try:
        return getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # Windows has no such handle
        return None
