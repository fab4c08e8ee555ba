"""What is compared: systems, each with what it reached on its tasks, from folders of scores."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from embedkit.core.errors import ArtifactError, DataError, did_you_mean
from embedkit.core.scores import (
    Items,
    ModelScores,
    PerQuery,
    TaskScores,
    read_items,
    read_per_query,
    read_scores,
    read_texts,
)

_PROVENANCE: Final = "provenance.json"  # of a run folder: what its stages are called
_PER_QUERY: Final = "per_query.parquet"
_SHORT: Final = 12  # characters of a key that stand for a name
_FEWEST: Final = 4  # characters of a key that are enough to ask for it


@dataclass(frozen=True)
class Reached:
    """What a system reached on one task, as a whole and one by one."""

    scores: TaskScores
    per_query: PerQuery = field(default_factory=dict)  # query_id -> metric -> value
    items: Items | None = None


@dataclass(frozen=True)
class System:
    """A model, or whatever else made a ranking."""

    name: str
    tasks: Mapping[str, Reached]
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # task -> query_id -> text
    key: str = ""
    aliases: Sequence[str] = ()  # other names of the same weights

    def told(self) -> str:
        """That several names are one model."""
        names = [self.name, *self.aliases]
        return f"{', '.join(names[:-1])} and {names[-1]} are the same model, with the same weights"


def read_systems(word: str) -> list[System]:
    """The systems of `FOLDER` or `FOLDER:MODEL`, a run folder or one of scores; MODEL is a stage's name or the first
    characters of a key. Raises `DataError` or `ArtifactError` if there are none."""
    folder, _, model = ("", "", "") if Path(word).exists() else word.rpartition(":")
    place = Path(folder or word)
    if not place.is_dir():
        raise DataError(f"{word}: no such file or folder; expected a run folder, a folder of scores or a TREC run")
    systems = _of_run(place) if (place / _PROVENANCE).is_file() else _of_scores(place, _names(place.parent, place.name))
    return [_chosen(systems, model, place)] if folder else systems


def distinct(groups: Sequence[tuple[str, Sequence[System]]]) -> list[System]:
    """All systems, `(the argument they came from, they)`, those of equal names told apart by their argument."""
    named = [(Path(word.partition(":")[0]), word, system) for word, systems in groups for system in systems]
    names = [system.name for _, _, system in named]
    folders = [place.name for place, _, _ in named]
    found: list[System] = []
    for place, word, system in named:
        name = system.name
        if names.count(name) > 1:
            shown = place.name if folders.count(place.name) == 1 else str(place)
            name = f"{shown}:{name}"
        if any(other.name == name for other in found):
            why = f"{name} is named twice" if not system.aliases else system.told()
            raise DataError(f"{word}: {why}; a system is compared with others")
        found.append(replace(system, name=name))
    return found


def _of_run(run: Path) -> list[System]:
    """Systems by the names of their stages; tasks of all stages that made scores."""
    merged: dict[str, System] = {}
    stages = [name for name in _stages(run) if (run / name / _PER_QUERY).is_file()]
    names = _names(run, *stages)
    for stage in stages:
        for system in _of_scores(run / stage, names):
            before = merged.setdefault(system.name, replace(system, tasks={}, texts={}))
            if twice := sorted(before.tasks.keys() & system.tasks.keys()):
                raise DataError(
                    f"{run}: two of its stages scored {system.name} on {twice[0]}; name one: {run / stages[0]}"
                )
            tasks, texts = {**before.tasks, **system.tasks}, {**before.texts, **system.texts}
            merged[system.name] = replace(system, tasks=tasks, texts=texts)
    if not merged:
        raise DataError(f"{run}: no stage of this run made scores; expected one with an evaluate stage")
    return list(merged.values())


def _of_scores(folder: Path, names: Mapping[str, Sequence[str]]) -> list[System]:
    if not (folder / "scores.json").is_file():
        raise DataError(f"{folder}: holds no scores.json; expected a run folder or a folder of scores")
    models, per_query, items, texts = (
        read_scores(folder),
        read_per_query(folder),
        read_items(folder),
        read_texts(folder),
    )
    if not models:
        raise ArtifactError(f"{folder / 'scores.json'}: names no model")

    def reached(model: ModelScores, task: str) -> Reached:
        place = (model.key, task)
        return Reached(model.tasks[task], per_query.get(place, {}), items.get(place))

    found = []
    for model in models:
        name, *aliases = names.get(model.key, [model.key[:_SHORT]])
        found.append(System(name, {t: reached(model, t) for t in model.tasks}, texts, model.key, aliases))
    return found


def _names(run: Path, *stages: str) -> dict[str, list[str]]:
    """Key -> names of what went into these stages, if the folder is the run folder that made them: several where models
    have the same weights."""
    told, found = _stages(run), dict[str, dict[str, None]]()
    for stage in stages:
        for name, key in told.get(stage, {}).get("inputs", {}).items():
            found.setdefault(str(key), {})[str(name)] = None
    return {key: list(names) for key, names in found.items()}


def _stages(run: Path) -> dict[str, Any]:
    path = run / _PROVENANCE
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["stages"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error!r}); run the recipe again to remake it") from None


def _chosen(systems: Sequence[System], model: str, folder: Path) -> System:
    by_name = [s for s in systems if model in (s.name, *s.aliases)]
    by_key = [s for s in systems if len(model) >= _FEWEST and s.key.startswith(model)]
    found = by_name or by_key
    if len(found) == 1:
        return found[0]
    names = [name for s in systems for name in (s.name, *s.aliases)]
    if found:
        raise DataError(f"{folder}: {model!r} begins the keys of {len(found)} models; write more of it")
    raise DataError(f"{folder}: has no model {model!r}; it has {', '.join(names)}{did_you_mean(model, names)}")
