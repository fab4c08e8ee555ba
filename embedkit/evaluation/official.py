"""mteb's official tasks, by name, on a mirror or on the hub.

Besides the harness the only file that imports mteb; import it, and call it, within `contained`.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import mteb
from mteb.abstasks import (
    AbsTask,
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy
from mteb.get_tasks import TASK_LIST

from embedkit.core.errors import ArtifactError, DataError, did_you_mean
from embedkit.evaluation.mirror.facts import Kind, TaskFacts
from embedkit.evaluation.mirror.manifest import DATA, Manifest, verify
from embedkit.evaluation.mirror.sealed import seal, unsealed_after

_DIGITS: Final = 16  # of a digest, in the name of a folder


def official_task(
    name: str,
    mirror: Path | None,
    *,
    work: Path,
    splits: Sequence[str] | None = None,
    subsets: Sequence[str] | None = None,
) -> AbsTask:
    """mteb's own task with its data loaded: of its entry in a mirror, or of the hub.

    Every file of the entry is checked first, and the task's data set revision is the one that was checked. From then
    to the end of `contained` nothing asks the network or unpacks data anywhere but in `work`. `splits` and `subsets`
    default to all that mteb evaluates. Raises `DataError` or `ArtifactError` if there is no such task or its data
    cannot be used.
    """
    task: AbsTask = _task(name, splits, subsets)
    if mirror is None:
        _load(task, f"{task.metadata.dataset['path']} at {task.metadata.revision} on the hub")
        return task
    manifest = verify(mirror)
    _check_fits(mirror, manifest, task)
    dataset = {**task.metadata.dataset, "path": str((mirror / DATA).resolve()), "revision": manifest.revision}
    task.metadata = task.metadata.model_copy(update={"dataset": dataset})
    seal(work / "datasets" / manifest.digest[:_DIGITS])
    _load(task, str(mirror))
    return task


def check_opens(entry: Path) -> list[str]:
    """Raise unless mteb's task loads from the entry alone: a class that fetches more than its data set shows here.

    Says where the entry has other numbers of rows than mteb counted in the official data.
    """
    with unsealed_after(), TemporaryDirectory(dir=entry.parent, prefix=".opened-") as work:  # it may need much space
        return list(_remarks(official_task(entry.name, entry, work=Path(work))))


def facts_of(name: str) -> TaskFacts:
    """What a mirror has to know of the task."""
    task = _task(name)
    splits = tuple(task.eval_splits)
    if isinstance(task, AbsTaskClassification):
        splits = tuple(dict.fromkeys((task.train_split, *splits)))
    return TaskFacts(
        name=name,
        type=task.metadata.type,
        path=task.metadata.dataset["path"],
        revision=task.metadata.revision,
        mteb=version("mteb"),
        splits=splits,
        multilingual=task.metadata.is_multilingual,
        plain=_is_plain(type(task)),
        columns=_columns(task),
    )


def _classes() -> dict[str, type[AbsTask]]:
    return {task.metadata.name: task for task in TASK_LIST}


def _task(name: str, splits: Sequence[str] | None = None, subsets: Sequence[str] | None = None) -> Any:
    known = _classes()
    if name not in known:
        raise DataError(f"{name!r}: mteb {version('mteb')} has no such task{did_you_mean(name, known)}")
    metadata: Any = known[name].metadata
    if other := [kind for kind in metadata.modalities if kind != "text"]:
        raise DataError(f"{name}: needs {' and '.join(other)}; embedkit evaluates models of text alone")
    if issubclass(known[name], AbsTaskAggregate):
        parts = ", ".join(part.metadata.name for part in metadata.tasks)
        raise DataError(f"{name}: is the mean of other tasks; name those: {parts}")
    known_parts = {"split": metadata.eval_splits, "subset": metadata.hf_subsets}
    for what, wanted in (("split", splits), ("subset", subsets)):
        # mteb takes the only split of a data set for one of any name
        if wrong := [part for part in wanted or () if part not in known_parts[what]]:
            there = list(known_parts[what])
            raise DataError(
                f"{name}: mteb evaluates no {what} {wrong[0]!r}; there are {there}{did_you_mean(wrong[0], there)}"
            )
    return mteb.get_task(name, eval_splits=splits, hf_subsets=subsets)


def _check_fits(entry: Path, manifest: Manifest, task: AbsTask) -> None:
    wanted = task.metadata.dataset["path"], task.metadata.revision
    if manifest.task != task.metadata.name:
        raise ArtifactError(f"{entry}: is the mirror of {manifest.task}, not of {task.metadata.name}")
    if manifest.origin == "hub" and (manifest.path, manifest.revision) != wanted:
        raise ArtifactError(
            f"{entry}: holds {manifest.path} at {manifest.revision}, as mteb {manifest.mteb} wanted; "
            f"mteb {version('mteb')} wants {wanted[0]} at {wanted[1]}. Delete the folder and mirror the task again"
        )


def _load(task: Any, place: str) -> None:
    name = task.metadata.name
    try:
        task.load_data()
    except MemoryError:
        raise
    except (ConnectionError, FileNotFoundError) as error:
        raise DataError(
            f"{name}: cannot be evaluated on {place}: mteb's class asks for data that is not there: {_line(error)}"
        ) from error
    except Exception as error:  # those of datasets, of its readers, of mteb's class
        raise DataError(f"{name}: mteb's class cannot read {place}: {_line(error)}") from error
    for subset in task.hf_subsets if task.dataset else ():
        found = task.dataset.get(subset, task.dataset)
        if missing := [split for split in task.eval_splits if split not in found]:
            raise DataError(f"{name}: {place} has no split {missing[0]!r}; it has {sorted(found)}")


def _remarks(task: AbsTask) -> Iterator[str]:
    """Differences in size from the official data, for tasks that are one table or one corpus."""
    counted = {} if task.metadata.is_multilingual else task.metadata.descriptive_stats or {}
    for split in set(task.eval_splits) & counted.keys():
        data: Any = task.dataset or {}
        if isinstance(task, AbsTaskRetrieval):
            part = data["default"][split] if "default" in data else {}
            found = {"num_documents": len(part["corpus"]), "num_queries": len(part["queries"])} if part else {}
        else:
            found = {"num_samples": len(data[split])} if isinstance(task, AbsTaskSTS | AbsTaskClassification) else {}
        for name, count in found.items():
            if count != (official := counted[split].get(name, count)):
                what = name.removeprefix("num_")
                yield f"{task.metadata.name}: split {split!r} has {count:,} {what}, the official one {official:,}"


def _is_plain(cls: type[AbsTask]) -> bool:
    """Whether loading is that of mteb's base classes."""
    return all(
        getattr(cls, hook).__module__.startswith("mteb.abstasks.") for hook in ("load_data", "dataset_transform")
    )


def _columns(task: Any) -> dict[str, Kind]:
    """Columns of a task that is one table, where each is of text."""
    if isinstance(task, AbsTaskRetrieval):
        return {}
    columns: dict[Any, Kind] = {}
    if isinstance(task, AbsTaskSTS):
        columns = {task.column_names[0]: "text", task.column_names[1]: "text", "score": "number"}
    elif isinstance(task, AbsTaskPairClassification):
        texts = task.input1_column_name, task.input2_column_name
        columns = {texts[0]: "text", texts[1]: "text", task.label_column_name: "binary"}
    elif isinstance(task, AbsTaskClusteringLegacy):
        columns = {task.input_column_name: "texts", task.label_column_name: "classes"}
    elif isinstance(task, AbsTaskClassification | AbsTaskClustering):
        columns = {task.input_column_name: "text", task.label_column_name: "class"}
    return {str(name): kind for name, kind in columns.items()}


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
