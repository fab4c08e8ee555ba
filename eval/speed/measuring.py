"""Time side by side and peak memory apart: rounds of all variants in turn, and one process per variant."""

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def interleaved(variants: Mapping[str, Callable[[], object]], *, rounds: int, device: str) -> dict[str, float]:
    """Median seconds of each variant over `rounds` rounds, each of which runs them all; one round before to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, variant in variants.items():
            gc.collect()
            synchronize(device)
            start = time.perf_counter()
            variant()
            synchronize(device)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def synchronize(device: str) -> None:
    """Wait for what the device still does."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak(work: Callable[[], object], *, device: str) -> int:
    """Bytes that `work` needs at its peak, over what is there before. On Linux, or on a GPU."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    before = _resident("VmRSS")
    _RESET.write_text("5")  # forgets the peak so far
    work()
    return _resident("VmHWM") - before


def peak_apart(script: str, arguments: Sequence[str]) -> int:
    """What `python -m script *arguments` prints: a peak, measured in a fresh process."""
    result = subprocess.run([sys.executable, "-m", script, *arguments], capture_output=True, text=True, check=True)
    return int(result.stdout.split()[-1])


def product_rate(rows: int, columns: int, dims: int, *, dtype: torch.dtype, device: str) -> float:
    """Floating-point operations a second of the best of five matrix products of that size."""
    left = torch.randn(rows, dims, device=device).to(dtype)
    right = torch.randn(columns, dims, device=device).to(dtype)
    times = []
    for _ in range(6):
        synchronize(device)
        start = time.perf_counter()
        left @ right.T
        synchronize(device)
        times.append(time.perf_counter() - start)
    return 2.0 * rows * columns * dims / min(times[1:])


def _resident(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) * 1024
