"""The models of a leaderboard, from whatever folders hold scores: of runs, of one scores artifact, shared, of mteb."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from embedkit.core.entry import Entry, Facts
from embedkit.core.errors import DataError
from embedkit.evaluation import published, shared
from embedkit.evaluation.comparing.systems import System, read_systems
from embedkit.outputs import PROVENANCE
from embedkit.retrieval.model_folder import describe


def read_entries(folders: Sequence[Path]) -> list[Entry]:
    """Every model of these folders once, in their order; scores of a model that several folders have are joined.

    Raises `DataError` for a folder without scores, or if two folders differ about a model's score.
    """
    models: dict[tuple[str, str], Entry] = {}
    for folder in folders:
        for entry in _read(folder):
            known = models.get((entry.name, entry.revision))
            models[entry.name, entry.revision] = entry if known is None else _joined(known, entry, folder)
    return list(models.values())


def _read(folder: Path) -> list[Entry]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one of a run, of scores, or of results")
    if (folder / PROVENANCE).is_file() or (folder / "scores.json").is_file():
        run = folder if (folder / PROVENANCE).is_file() else folder.parent
        return [_of_system(system, run / system.name) for system in read_systems(str(folder))]
    found = {(entry.name, entry.revision): entry for entry in shared.read(folder)}
    for entry in published.read(folder) if published.holds_results(folder) else ():
        known = found.get((entry.name, entry.revision))
        found[entry.name, entry.revision] = entry if known is None else _filled(known, entry)
    if not found:
        raise DataError(
            f"{folder}: holds no scores; expected a run folder, the folder of an evaluate stage, a results folder, or "
            "mteb's results/<model>/<revision>/<Task>.json"
        )
    return list(found.values())


def _of_system(system: System, model: Path) -> Entry:
    return Entry(
        system.name,
        system.key,
        {task: reached.scores for task, reached in system.tasks.items()},
        {task: reached.per_query for task, reached in system.tasks.items() if reached.per_query},
        {task: reached.items for task, reached in system.tasks.items() if reached.items is not None},
        facts_of(model),
    )


def facts_of(folder: Path) -> Facts:
    """What the files of a model tell; nothing if they are not there."""
    if not (folder / "modules.json").is_file():
        return Facts()
    card = describe(folder)
    return Facts(card.parameters or None, card.dimensions or None, card.max_tokens or None)


def _joined(known: Entry, other: Entry, folder: Path) -> Entry:
    for task in known.tasks.keys() & other.tasks.keys():
        ours, theirs = known.tasks[task], other.tasks[task]
        metric = ours.main_metric
        if ours.revision == theirs.revision and ours.metrics.get(metric) != theirs.metrics.get(metric):
            raise DataError(
                f"{folder}: {known.name} at {known.revision[:12]} has {theirs.metrics.get(metric)} on {task} "
                f"({metric}), but {ours.metrics.get(metric)} in another of these folders"
            )
    return _filled(known, other)


def _filled(known: Entry, other: Entry) -> Entry:
    """`known`, with the tasks that only `other` has."""
    facts = {key: value if value is not None else getattr(other.facts, key) for key, value in vars(known.facts).items()}
    return replace(
        known,
        tasks={**other.tasks, **known.tasks},
        units={**{t: v for t, v in other.units.items() if t not in known.tasks}, **known.units},
        items={**{t: v for t, v in other.items.items() if t not in known.tasks}, **known.items},
        facts=Facts(**facts),
    )
