"""Why two runs differ: for each stage, what in its identity changed, back to where the change began."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedkit.core.errors import ArtifactError
from embedkit.outputs import PROVENANCE


@dataclass(frozen=True)
class Difference:
    """One stage that differs. `reasons` are changes of its own; `because_of` are stages it reads that differ."""

    stage: str
    reasons: tuple[str, ...]
    because_of: tuple[str, ...]


def difference(run_a: Path, run_b: Path) -> list[Difference]:
    """The stages whose artifacts differ between two run folders, in the order of the second run."""
    a, b = _read(run_a), _read(run_b)
    found = [Difference(name, ("only in the first run",), ()) for name in a["stages"] if name not in b["stages"]]
    changed = {n for n in b["stages"] if a["stages"].get(n, {}).get("key") != b["stages"][n]["key"]}
    for name, stage in b["stages"].items():
        if name not in changed:
            continue
        if name not in a["stages"]:
            found.append(Difference(name, ("only in the second run",), ()))
            continue
        before, after = a["stages"][name], stage
        upstream = tuple(sorted(ref for ref in after["inputs"] if _changed(ref, name, changed)))
        found.append(Difference(name, tuple(_compare(before["identity"], after["identity"])), upstream))
    return found


def version_changes(run_a: Path, run_b: Path) -> list[str]:
    """Library versions that differ. They are not part of keys, so they alone never make a stage run again."""
    a, b = _read(run_a)["versions"], _read(run_b)["versions"]
    return [
        f"{n}: {a.get(n, 'absent')} -> {b.get(n, 'absent')}"
        for n in sorted(a.keys() | b.keys())
        if a.get(n) != b.get(n)
    ]


def _changed(reference: str, stage: str, changed: set[str]) -> bool:
    return reference in changed or f"{stage}/{reference}" in changed


def _compare(before: Any, after: Any, where: str = "") -> Iterator[str]:
    """Lines for the leaves that differ; keys of inputs are left out, they are told by name."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        if before.keys() == after.keys() == {"key"}:
            return
        if before.keys() == after.keys() == {"sha256"}:
            if before != after:
                yield f"{where}: the content of the file or folder changed"
            return
        for name in sorted(before.keys() | after.keys()):
            if name == "parts" and not where:
                continue
            if name == "labels" and not where:
                if sorted((before.get(name) or {}).values()) != sorted((after.get(name) or {}).values()):
                    yield "it shows stage names, and a stage was renamed, added or removed"
                continue
            inner = f"{where}.{name}" if where and where != "spec" else name if name != "spec" else "spec"
            yield from _compare(before.get(name), after.get(name), inner)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (x, y) in enumerate(zip(before, after, strict=True)):
            yield from _compare(x, y, f"{where}.{i}")
    elif before != after:
        yield f"{where}: {json.dumps(before)} -> {json.dumps(after)}"


def _read(run: Path) -> dict[str, Any]:
    path = run / PROVENANCE
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        return {"stages": dict(found["stages"]), "versions": dict(found["versions"])}
    except (KeyError, TypeError):
        raise ArtifactError(f"{path}: not what `embedkit run` writes; it lacks stages or versions") from None
    except OSError:
        raise ArtifactError(f"{path}: no such file; name two run folders that `embedkit run` has filled") from None
    except ValueError as error:
        raise ArtifactError(f"{path}: not JSON ({error})") from None
