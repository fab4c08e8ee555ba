"""How long searches take, side by side: a measurement of one machine at one time, and so no part of any figure."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch

from embedkit.core.progress import Progress, silent

Work = Callable[[], object]

_PAUSE: Final = 0.03  # seconds; threads of some libraries spin so long for more work, and would take a core from others


def clock(
    work: Mapping[str, Work], *, queries: int, rounds: int, progress: Progress = silent
) -> dict[str, dict[str, Any]]:
    """name -> threads -> seconds for 1,000 queries, of work that serves `queries`: median, least and most.

    All pieces of work are done once to warm up, then `rounds` times in turn: with one thread, and with all that torch
    was given, if these are more.
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in work}
    counts = sorted({1, torch.get_num_threads()})
    with progress("time searches", len(counts) * (rounds + 1) * len(work)) as advance:
        for threads in counts:
            with _threads(threads):
                taken: dict[str, list[float]] = {name: [] for name in work}
                for _ in range(rounds + 1):
                    for name, do in work.items():
                        time.sleep(_PAUSE)
                        start = time.perf_counter()
                        do()
                        taken[name].append((time.perf_counter() - start) * 1000 / queries)
                        advance(1)
            for name, seconds in taken.items():
                later = seconds[1:]
                found[name][str(threads)] = {
                    "median": statistics.median(later),
                    "least": min(later),
                    "most": max(later),
                }
    return found


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
