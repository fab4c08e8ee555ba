"""Runs a recipe in children that are killed, and tells what happened. Started as a process of its own:

    python -m tests.faults.driver RECIPE FOLDER at EVENT [N]      kill at the N-th EVENT (default 1), then finish
    python -m tests.faults.driver RECIPE FOLDER times COUNT SEED  kill COUNT times after random delays

Heavy libraries are imported once, here; every attempt is a fork of this process, so an attempt costs no imports.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path


def preload() -> None:
    """Import what stages import, without computing anything: no library thread may exist when we fork."""
    import bm25s  # noqa: F401
    import datasets  # noqa: F401
    import faiss  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import mteb  # noqa: F401
    import sentence_transformers  # noqa: F401

    import embedkit.runner
    from embedkit.evaluation.containment import contained

    with contained():
        import embedkit.evaluation.harness
        import embedkit.evaluation.separation  # noqa: F401


def attempt(recipe: Path, folder: Path, *, die_at: str = "", count: int = 1) -> int:
    """Fork a child that runs the recipe, its events written to events.jsonl; the child's process id."""
    child = os.fork()
    if child:
        return child
    try:
        import torch

        torch.set_num_threads(1)
        import embedkit

        seen = 0

        def emit(event, facts):
            nonlocal seen
            with (folder / "events.jsonl").open("a") as log:
                log.write(json.dumps({"event": event, "key": facts.get("key"), "stage": facts.get("stage")}) + "\n")
            seen += event == die_at
            if die_at and seen == count:
                os.kill(os.getpid(), signal.SIGKILL)

        embedkit.run(recipe, store=folder / "store", out=folder / "out", emit=emit)
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def finish(child: int) -> int:
    """Wait for a child; its exit status as subprocess gives it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(recipe: Path, folder: Path, event: str, count: int) -> None:
    assert finish(attempt(recipe, folder, die_at=event, count=count)) == -signal.SIGKILL, f"no {event} number {count}"
    assert finish(attempt(recipe, folder)) == 0


def killed_at_random_times(recipe: Path, folder: Path, kills: int, seed: int) -> None:
    """Kill attempt after attempt; when one gets through, begin again in a folder of its own."""
    rng, done, round_ = random.Random(seed), 0, 0
    while True:
        here = folder / str(round_)
        here.mkdir(parents=True)
        while True:
            child = attempt(recipe, here)
            status = None
            if done < kills:
                end = time.monotonic() + rng.expovariate(1 / 1.5)
                while time.monotonic() < end and status is None:
                    found, code = os.waitpid(child, os.WNOHANG)
                    status = os.waitstatus_to_exitcode(code) if found else None
                    time.sleep(0.005)
                if status is None:
                    os.kill(child, signal.SIGKILL)
            status = finish(child) if status is None else status
            if status == 0:
                break
            assert status == -signal.SIGKILL, status
            done += 1
        round_ += 1
        if done >= kills:
            print(json.dumps({"kills": done, "rounds": round_}))
            return


if __name__ == "__main__":
    preload()
    recipe, folder, how = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    folder.mkdir(parents=True, exist_ok=True)
    if how == "at":
        for point in sys.argv[4:]:
            event, _, count = point.partition(":")
            (folder / point).mkdir()
            killed_at(recipe, folder / point, event, int(count or 1))
    elif how == "times":
        killed_at_random_times(recipe, folder, int(sys.argv[4]), int(sys.argv[5]))
    else:
        assert finish(attempt(recipe, folder)) == 0
