"""Which files of a model folder embed a text: all of them, or those of one tower of an asymmetric model."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from embedkit.core.errors import ModelError

MODULES: Final = "modules.json"
_ROUTER_CONFIGS: Final = ("router_config.json", "config.json")


@dataclass(frozen=True)
class Part:
    """One module of a pipeline: its class, as modules.json names it, and its folder below the model, "" at the top."""

    type: str
    path: str


def pipeline(folder: Path, task: str | None = None) -> list[Part]:
    """The modules that a text of a task passes, in order; of a plain transformers folder none.

    Where the first module is a sentence-transformers Router, those of the route are there in its place. None, and
    tasks that have no route: the default one, of towers the document's.
    Raises `ModelError` if modules.json or the router's configuration cannot be read.
    """
    parts = list(_modules(folder))
    if not parts:
        return []
    found = router(folder)
    if found is None:
        return parts
    config, where = found
    try:
        structure, types = config["structure"], config["types"]
        chosen = structure.get(task) or structure[config["parameters"]["default_route"] or next(iter(structure))]
        routed = [Part(str(types[name]), _join(where, str(name))) for name in chosen]
    except (KeyError, TypeError, AttributeError, StopIteration):
        raise ModelError(f"{folder}: its router's configuration should have types, structure and parameters") from None
    return [*routed, *parts[1:]]


def every_part(folder: Path) -> list[Part]:
    """The modules of a model and, where the first is a Router, those of all its routes. Raises as `pipeline`."""
    found = router(folder)
    if found is None:
        return list(_modules(folder))
    types = found[0].get("types")
    if not isinstance(types, dict):
        raise ModelError(f"{folder}: its router's configuration should have types, structure and parameters")
    return [*_modules(folder), *(Part(str(kind), _join(found[1], name)) for name, kind in types.items())]


def router(folder: Path) -> tuple[dict[str, Any], str] | None:
    """The configuration of the Router a model begins with, and its folder; None if it begins with another module."""
    parts = list(_modules(folder))
    if not parts or parts[0].type.rpartition(".")[2] not in ("Router", "Asym"):
        return None
    for name in _ROUTER_CONFIGS:
        path = folder / parts[0].path / name
        if path.is_file():
            return dict(_read(path)), parts[0].path
    return None


def files_for(folder: Path, files: Mapping[str, str], task: str) -> Mapping[str, str]:
    """Of `files` (path below the folder -> SHA-256), those that the vectors of a task depend on.

    All, unless the model is a Router. Then those of the task's route, named as in a model that is this tower alone, so
    that a tower and the model it was made of have the same digest.
    """
    found = router(folder)
    if found is None or any((found[0].get("parameters") or {}).get("route_mappings") or ()):
        return files
    parts = pipeline(folder, task)
    alone = [Part(part.type, "" if i == 0 else f"{i}_{part.type.rpartition('.')[2]}") for i, part in enumerate(parts)]
    tower = {
        _join(there.path, path.removeprefix(f"{here.path}/")): content
        for here, there in zip(parts, alone, strict=True)
        for path, content in files.items()
        if path.startswith(f"{here.path}/")
    }
    own = {MODULES, *(_join(found[1], name) for name in _ROUTER_CONFIGS)}
    beside = {path: content for path, content in files.items() if "/" not in path and path not in own}
    return {**beside, **tower, MODULES: _digest(modules_json(alone))}


def modules_json(parts: Sequence[Part]) -> str:
    """modules.json of a model of these parts, as sentence-transformers writes it."""
    entries = [{"idx": i, "name": str(i), "path": part.path, "type": part.type} for i, part in enumerate(parts)]
    return json.dumps(entries, indent=2)


def _modules(folder: Path) -> Iterator[Part]:
    path = folder / MODULES
    if not path.is_file():
        return
    try:
        for entry in _read(path):
            yield Part(str(entry["type"]), str(entry["path"]))
    except (KeyError, TypeError):
        raise ModelError(f"{path}: should be a list of modules with name, path and type") from None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error})") from None


def _join(folder: str, name: str) -> str:
    return "/".join(part for part in (folder, name) if part)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
