"""Starts a command several times on this machine, as torchrun does, and answers for all of them with one exit code."""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Final

from embedkit.core.errors import EmbedkitError

_STOPPED: Final = 130


def launch(words: Sequence[str], processes: int) -> int:
    """Run `embedkit` with these words in so many processes; the exit code.

    With GPUs, each process has one, and they exchange through NCCL; on a CPU, each has its part of the threads, and
    they exchange through gloo. An `EmbedkitError` if there are too few GPUs, or if a process was killed.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _check_devices(processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // processes)))
    for name in ("torch.distributed.elastic", "torch.distributed.launcher"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # its reports of failures are pages long
    with TemporaryDirectory() as logs:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id="embedkit",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "embedkit", *words)
        except ChildFailedError as error:
            codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
            rank = min(codes, key=lambda rank: codes[rank] == _STOPPED)  # who was stopped did not begin
            return _answer(rank, codes[rank])
        except SignalException:
            return _STOPPED  # which the first process has told
    return 0


def _answer(rank: int, code: int) -> int:
    """The exit code of the launch, after that of a process; an `EmbedkitError` where the process could say nothing."""
    if code >= 0:
        return code
    name = signal.Signals(-code).name
    why = " (the system kills processes when memory runs out)" if name == "SIGKILL" else ""
    raise EmbedkitError(
        f"process {rank} was ended by {name}{why}, which stopped the others; the same command goes on where it was"
    )


def _check_devices(processes: int) -> None:
    import torch

    found = torch.cuda.device_count()
    if found and found < processes:
        raise EmbedkitError(f"--nproc {processes}: there are {found} GPUs, and each process takes one")


def _cores() -> int:
    """Cores this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
