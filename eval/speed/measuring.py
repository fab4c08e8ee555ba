"""Time side by side and peak memory apart: rounds of all variants in turn, and one process per variant."""

import gc
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_EVERY = 0.01  # seconds between two looks at the memory


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
    before = resident("VmRSS")
    _RESET.write_text("5")  # forgets the peak so far
    work()
    return resident("VmHWM") - before


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


class Anonymous:
    """Watches this process's anonymous memory (RssAnon), which unlike pages of files cannot be given back under
    pressure; `phase` says what is going on. Linux only."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.before = resident("RssAnon")
        self.peaks: dict[str, int] = {}  # phase -> bytes over those before
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Anonymous":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_EVERY):
            phase, bytes_ = self.phase, resident("RssAnon") - self.before
            self.peaks[phase] = max(bytes_, self.peaks.get(phase, 0))


def resident(name: str) -> int:
    """Bytes of one line of /proc/self/status."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) * 1024
