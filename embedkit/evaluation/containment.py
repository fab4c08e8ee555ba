"""What mteb does to the process stays with mteb."""

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def contained() -> Iterator[None]:
    """Undo the seeding of global generators, which mteb does on import and in every task; hide bars, log messages and
    warnings; undo `seal`, where a mirror was opened.

    Import mteb inside.
    """
    import datasets

    from embedkit.evaluation.mirror.sealed import unsealed_after

    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    logger, hidden = logging.getLogger("mteb"), datasets.are_progress_bars_disabled()
    level = logger.level
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        with unsealed_after(), torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        logger.setLevel(level)
        if not hidden:
            datasets.enable_progress_bars()
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
