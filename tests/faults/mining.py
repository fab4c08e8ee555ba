"""A small mine stage whose durable steps can be counted and cut short. Started as a process of its own:

    python -m tests.faults.mining SPEC INPUTS FOLDER N   kill at every Nth durable step in turn, and finish each time

A durable step is a file flushed to the disk, a rename, or an event told to the log.
"""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from embedkit.core.stage import Artifact, Context
from embedkit.core.store import digests
from embedkit.mining.stage import Mine
from tests.faults.driver import finish

Step = Callable[[], None]


def run(stage: Mine, inputs: dict[str, Artifact], folder: Path, emit=lambda event, facts: None) -> Path:
    """Run the stage as the store does: the output begins empty, work and vectors stay."""
    out, work = folder / "out", folder / "work"
    for path in out.glob("*") if out.is_dir() else ():
        path.unlink()
    for path in (out, work):
        path.mkdir(parents=True, exist_ok=True)
    stage.run(inputs, out, Context(work=work, embeddings=folder / "embeddings", emit=emit))
    return out


@contextmanager
def watched(step: Step):
    """Calls `step` before every durable step; what it raises comes instead of the step."""
    originals = {name: getattr(os, name) for name in ("fsync", "replace", "rename")}

    def wrap(original):
        def call(*args, **options):
            step()
            return original(*args, **options)

        return call

    for name, original in originals.items():
        setattr(os, name, wrap(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


def at(number: int, act: Step) -> Step:
    """A step that acts at the `number`-th time, from 1."""
    seen = 0

    def step() -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            act()

    return step


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def attempt(stage: Mine, inputs: dict[str, Artifact], folder: Path, *, die_at: int = 0) -> int:
    """Run in a child that dies at that step; its exit status."""
    child = os.fork()
    if child:
        return finish(child)
    try:
        import torch

        torch.set_num_threads(1)
        step = at(die_at, kill)
        with watched(step):
            run(stage, inputs, folder, lambda event, facts: step())
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def kill_everywhere(stage: Mine, inputs: dict[str, Artifact], folder: Path, *, every: int = 1) -> int:
    """Kill at the first durable step, the second, and so on, each time in a new folder; how many there are.

    With `every`, only at each so-manieth.
    """
    assert attempt(stage, inputs, folder / "undisturbed") == 0
    expected = digests(folder / "undisturbed" / "out")
    number = 0
    while True:
        here = folder / str(number + 1)
        status = attempt(stage, inputs, here, die_at=number + 1)
        if status == 0:
            return number
        assert status == -signal.SIGKILL, status
        assert attempt(stage, inputs, here) == 0, f"not finished after a kill at step {number + 1}"
        assert digests(here / "out") == expected, f"another result after a kill at step {number + 1}"
        number += every


if __name__ == "__main__":
    import bm25s  # noqa: F401
    import faiss  # noqa: F401
    import sentence_transformers  # noqa: F401

    stage = Mine.model_validate_json(sys.argv[1])
    inputs = {name: Artifact(key, Path(path)) for name, (key, path) in json.loads(sys.argv[2]).items()}
    print(kill_everywhere(stage, inputs, Path(sys.argv[3]), every=int(sys.argv[4])))
