"""Names that mteb knows. Importing it takes seconds, so they are asked for once a version and kept in a file.

<cache>/mteb-<version>.json, where <cache> is $XDG_CACHE_HOME/embedkit or ~/.cache/embedkit. A file that is absent,
damaged or cannot be written costs time only.
"""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedkit.core.errors import DataError, did_you_mean
from embedkit.core.store import write_atomically
from embedkit.evaluation.containment import contained

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

_FORMAT: Final = 2  # of the file


@dataclass(frozen=True)
class KnownTask:
    """A task of mteb."""

    type: str
    splits: tuple[str, ...]  # those that are evaluated
    subsets: tuple[str, ...]
    modalities: tuple[str, ...]
    main: str  # mteb's name of the score that ranks models, e.g. ndcg_at_10
    parts: tuple[str, ...]  # the tasks it is a mean of; of most tasks none
    public: bool = True  # whether anybody may load its data


@dataclass(frozen=True)
class Selection:
    """A task in a benchmark, with those of its splits and subsets that count there; None: all."""

    name: str
    splits: tuple[str, ...] | None
    subsets: tuple[str, ...] | None
    group: str = ""  # the task of the benchmark that is a mean of this one and others; "": none


@dataclass(frozen=True)
class Registry:
    """Tasks and benchmarks by name."""

    tasks: dict[str, KnownTask]
    benchmarks: dict[str, tuple[Selection, ...]]

    def text_tasks(self, benchmark: str) -> list[Selection]:
        """The benchmark's tasks on public data that need text alone; one that is a mean of others is given as those.

        Raises `DataError` if there is no such benchmark.
        """
        found: dict[str, Selection] = {}
        for selection in self._selected(benchmark):
            if self._why_not(selection.name) is None:
                names = self.tasks[selection.name].parts
                for part in [Selection(name, None, None, group=selection.name) for name in names] or [selection]:
                    found.setdefault(part.name, part)
        return list(found.values())

    def left_out(self, benchmark: str) -> dict[str, str]:
        """The benchmark's other tasks: name -> why, as `its data are not public`. Raises `DataError` likewise."""
        return {one.name: why for one in self._selected(benchmark) if (why := self._why_not(one.name)) is not None}

    def told_left_out(self, benchmark: str) -> str | None:
        """What `left_out` finds, in a line; None if that is nothing."""
        if not (left := self.left_out(benchmark)):
            return None
        reasons: dict[str, list[str]] = {}
        for name, why in left.items():
            reasons.setdefault(why, []).append(name)
        listed = "; ".join(f"{', '.join(_few(names))}: {why}" for why, names in reasons.items())
        return f"{benchmark}: {len(left)} of its {len(self._selected(benchmark))} tasks are left out. {listed}"

    def _selected(self, benchmark: str) -> tuple[Selection, ...]:
        if (selected := self.benchmarks.get(benchmark)) is None:
            raise DataError(f"mteb has no benchmark {benchmark!r}{did_you_mean(benchmark, self.benchmarks)}")
        return selected

    def _why_not(self, name: str) -> str | None:
        """Why a task cannot be evaluated; a mean of tasks needs all of them."""
        task = self.tasks[name]
        if task.modalities != ("text",):
            return f"needs {' and '.join(sorted(task.modalities))}"
        if not task.public:
            return "its data are not public"
        return next((why for part in task.parts if (why := self._why_not(part)) is not None), None)


@cache
def registry() -> Registry:
    """What the installed mteb knows."""
    path = _cache_folder() / f"mteb-{version('mteb')}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["format"] == _FORMAT:
            return _from_json(kept)
    found = _ask()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"format": _FORMAT, **asdict(found)}))
    return found


def _ask() -> Registry:
    with contained():
        import mteb

        every = mteb.get_tasks(exclude_superseded=False, exclude_private=False)
        tasks = {task.metadata.name: _known(task) for task in every}
        benchmarks: dict[str, tuple[Selection, ...]] = {}
        for benchmark in mteb.get_benchmarks():
            selected = tuple(_selection(task) for task in benchmark.tasks if task.metadata.name in tasks)
            benchmarks |= dict.fromkeys((benchmark.name, *(benchmark.aliases or ())), selected)
    return Registry(tasks, benchmarks)


def _known(task: "AbsTask") -> KnownTask:
    about = task.metadata
    parts = tuple(part.metadata.name for part in about.tasks) if task.is_aggregate else ()  # type: ignore[attr-defined]
    splits, subsets = tuple(about.eval_splits), tuple(about.hf_subsets)
    return KnownTask(
        about.type, splits, subsets, tuple(about.modalities), about.main_score, parts, public=about.is_public
    )


def _selection(task: "AbsTask") -> Selection:
    splits, subsets = tuple(task.eval_splits), tuple(task.hf_subsets)
    whole = task.metadata
    return Selection(
        whole.name,
        splits if set(splits) != set(whole.eval_splits) else None,
        subsets if set(subsets) != set(whole.hf_subsets) else None,
    )


def _from_json(kept: Any) -> Registry:
    def tuples(fields: dict[str, Any]) -> dict[str, Any]:
        return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}

    tasks = {name: KnownTask(**tuples(fields)) for name, fields in kept["tasks"].items()}
    benchmarks = {name: tuple(Selection(**tuples(s)) for s in rows) for name, rows in kept["benchmarks"].items()}
    return Registry(tasks, benchmarks)


def _few(names: list[str], most: int = 15) -> list[str]:
    return names if len(names) <= most else [*names[:most], f"{len(names) - most} more"]


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "embedkit"
