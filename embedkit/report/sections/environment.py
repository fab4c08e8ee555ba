"""Where the artifacts were made: machines and library versions, as the manifests say."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embedkit.report.lineage import Lineage
from embedkit.report.tables import memory, words


@dataclass(frozen=True)
class Environment:
    """Artifacts made on one machine with one set of versions."""

    labels: Sequence[str]  # of the artifacts
    machine: Sequence[tuple[str, str]]
    versions: Sequence[tuple[str, str]]


def section(lineage: Lineage) -> list[Environment] | None:
    """The environments, most often there is one."""
    groups: dict[str, list[str]] = {}
    for node in lineage:
        known = {name: node.made[name] for name in ("machine", "versions") if node.made.get(name)}
        if known:
            groups.setdefault(json.dumps(known, sort_keys=True), []).append(node.label)
    found = []
    for text, labels in groups.items():
        known = json.loads(text)
        machine = [(words(name), _fact(name, value)) for name, value in known.get("machine", {}).items()]
        found.append(Environment(labels, [fact for fact in machine if fact[1]], _versions(known.get("versions", {}))))
    return found or None


def _fact(name: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return memory(value) if name == "memory" else str(value)


def _versions(versions: Mapping[str, str]) -> list[tuple[str, str]]:
    first = [name for name in ("embedkit", "python") if name in versions]
    return [(name, versions[name]) for name in [*first, *sorted(versions.keys() - set(first))]]
