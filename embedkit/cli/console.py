"""What a run shows while it goes: bars on a terminal, one line a stage elsewhere, JSON lines for machines."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from embedkit.core.errors import EmbedkitError
from embedkit.core.progress import Advance

_SHOWN = (
    "run_started",
    "stage_kept",
    "stage_started",
    "stage_finished",
    "stage_failed",
    "waiting",
    "run_finished",
)


class Console:
    """Receives a run's events and progress. Use as a context manager; `progress` and `emit` go to the runner."""

    def __init__(self, *, as_json: bool, silent: bool = False) -> None:
        self.as_json = as_json
        self.silent = silent  # another process shows what happens
        self.rich = RichConsole(stderr=True, highlight=False)
        self.bars: Progress | None = None

    def __enter__(self) -> Self:
        _quiet_libraries()
        if not self.as_json and not self.silent and self.rich.is_terminal:
            columns = (
                TextColumn("  {task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self.bars = Progress(*columns, console=self.rich, transient=True)
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.as_json and isinstance(error, EmbedkitError):
            self.emit("error", {"problems": error.problems})
        if self.as_json and isinstance(error, KeyboardInterrupt):
            self.emit("stopped", {})
        if self.bars is not None:
            self.bars.stop()

    @contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[Advance]:
        """A bar on a terminal, nothing elsewhere."""
        if self.bars is None:
            yield lambda _: None
            return
        bars, task = self.bars, self.bars.add_task(what, total=total)
        try:
            yield lambda n: bars.advance(task, n)
        finally:
            bars.remove_task(task)

    def emit(self, event: str, facts: Mapping[str, Any]) -> None:
        """Every event as a JSON line, or the few that people want as text."""
        if self.as_json:
            record = {"time": round(time.time(), 3), "event": event, **facts}
            print(json.dumps(record, ensure_ascii=False, default=str), flush=True)
        elif event in _SHOWN:
            for line in _lines(event, facts):
                self.rich.print(line, markup=False, soft_wrap=True)


def _lines(event: str, facts: Mapping[str, Any]) -> list[str]:
    stage, key = facts.get("stage"), str(facts.get("key", ""))[:12]
    if event == "run_started":
        several = f", {facts['processes']} processes" if "processes" in facts else ""
        return [f"{facts['recipe']}: {facts['stages']} stages, store {facts['store']}{several}"]
    if event == "stage_kept":
        return [] if facts.get("part_of") else [f"  kept  {stage}  {key}"]
    if event == "stage_started":
        return [] if facts.get("part_of") else [f"  run   {stage}  {key}"]
    if event == "stage_finished":
        memory = (facts.get("peak_memory") or 0) / 2**20
        took = f"  done  {stage}  {facts.get('seconds') or 0:.1f} s, peak {memory:,.0f} MB"
        summary = [f"        {text}" for text in facts.get("summary") or ()]
        return [took, *summary, *(f"        warning: {text}" for text in facts.get("warnings") or ())]
    if event == "stage_failed":
        return [f"  fail  {stage}", *(f"        {text}" for text in facts["problems"])]
    if event == "waiting":
        return [f"  wait  {stage}: {facts['why']}"]
    return [f"{facts['made']} stages ran, {facts['kept']} were kept, {facts['seconds']:.1f} s"]


def _quiet_libraries() -> None:
    """Third parties' warnings and bars would break ours; what matters of them is in stats and errors."""
    import logging
    import os
    import warnings

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", module=r"(?!embedkit)")
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.ERROR)  # on the handler: some libraries set levels of their own
    logging.basicConfig(handlers=[handler])
