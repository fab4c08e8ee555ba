"""What this machine is, how much memory a piece of work took, and how fast the machine multiplies."""

import importlib.metadata
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import psutil

from embedkit._version import __version__

_LIBRARIES = (
    "accelerate",
    "bm25s",
    "datasets",
    "faiss-cpu",
    "faiss-gpu",
    "mteb",
    "numpy",
    "pyarrow",
    "pydantic",
    "pytrec-eval-terrier",
    "safetensors",
    "scipy",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
)


@cache
def versions() -> dict[str, str]:
    """Installed versions of embedkit, Python and the libraries that matter to results."""
    found = {"embedkit": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def machine() -> dict[str, Any]:
    """Processor, cores, memory in bytes, system and GPUs."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "gpus": gpus,
    }


@dataclass
class Meter:
    """What a piece of work took: wall seconds, and peak resident memory of this process in bytes."""

    seconds: float = 0.0
    peak_memory: int = 0


@contextmanager
def measured(interval: float = 0.05) -> Iterator[Meter]:
    """Measure the enclosed work. Memory is sampled every `interval` seconds, so a shorter spike can be missed."""
    meter, process, done = Meter(), psutil.Process(), threading.Event()

    def sample() -> None:
        while True:
            meter.peak_memory = max(meter.peak_memory, process.memory_info().rss)
            if done.wait(interval):
                return

    watcher = threading.Thread(target=sample, daemon=True)
    start = time.perf_counter()
    watcher.start()
    try:
        yield meter
    finally:
        meter.seconds = time.perf_counter() - start
        done.set()
        watcher.join()


@cache
def speed() -> float:
    """Floating-point operations a second of a float32 matrix product of the size a small encoder makes."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows, width = (8192, 4096) if device == "cuda" else (2048, 384)
    a = torch.randn(rows, width, device=device)
    b = torch.randn(width, 4 * width, device=device)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(4):
            product = a @ b
        float(product[0, 0])  # wait for the device
        best = max(best, 4 * 2.0 * rows * width * 4 * width / (time.perf_counter() - start))
    return best


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - /proc is not a place for Path
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
