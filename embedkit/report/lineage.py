"""What an artifact comes from: all artifacts behind it with their manifests and stats, in the order they were made."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedkit.core.stage import Artifact
from embedkit.core.stats import read_stats
from embedkit.core.store import read_manifest

SHORT = 12  # characters of a key that are shown where the whole key would be noise
_KEY = re.compile(r"\b[0-9a-f]{8,64}\b")


@dataclass(frozen=True)
class Node:
    """One artifact of a lineage."""

    key: str
    name: str  # its stage's name; empty for a part of a stage
    kind: str
    type: str
    spec: Mapping[str, Any]  # the stage's fields: references are {"key": ...}, paths are {"sha256": ...}
    inputs: Mapping[str, str]  # where in the spec -> key
    made: Mapping[str, Any]  # seconds, peak_memory, versions, machine ...: each may be missing
    stats: Mapping[str, Any]
    path: Path

    @property
    def label(self) -> str:
        """The stage's name, or the kind and short key of a part."""
        return self.name or f"{self.kind} {self.key[:SHORT]}"


@dataclass(frozen=True)
class Lineage:
    """Artifacts by key, each after everything it was made from."""

    nodes: Mapping[str, Node]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def stages(self) -> list[Node]:
        """The artifacts that the recipe names."""
        return [node for node in self if node.name]

    def of_kind(self, *kinds: str) -> list[Node]:
        """The named artifacts of these kinds."""
        return [node for node in self.stages() if node.kind in kinds]

    def label(self, key: str) -> str:
        """How to call the artifact of this key."""
        return self.nodes[key].label if key in self.nodes else key[:SHORT]

    def sources(self, node: Node) -> list[str]:
        """What an artifact was made from: stages by name, parts of stages as a number."""
        keys = list(dict.fromkeys(node.inputs.values()))
        names = [self.nodes[key].name for key in keys if self.nodes[key].name]
        parts = len(keys) - len(names)
        return [*names, *([f"{parts} parts" if parts > 1 else "1 part"] if parts else [])] or ["outside files"]

    def summary(self, node: Node) -> list[str]:
        """What a stage says of its artifact besides warnings, keys replaced by the names that artifacts do not know."""
        warnings = self.warnings(node)
        return [text for text in map(self._named, node.stats.get("summary", [])) if text not in warnings]

    def warnings(self, node: Node) -> list[str]:
        """What a stage warns of, keys replaced by names."""
        return [self._named(text) for text in node.stats.get("warnings", [])]

    def _named(self, text: str) -> str:
        def name(found: re.Match[str]) -> str:
            nodes = [node for node in self if node.key.startswith(found[0])]
            return nodes[0].label if len(nodes) == 1 else found[0]

        return _KEY.sub(name, text)

    def behind(self, key: str) -> "Lineage":
        """The lineage of one of these artifacts, itself included."""
        wanted, found = [key], {key}
        while wanted:
            fresh = set(self.nodes[wanted.pop()].inputs.values()) - found
            found |= fresh
            wanted += fresh
        return Lineage({k: node for k, node in self.nodes.items() if k in found})


def walk(roots: Iterable[str], lookup: Callable[[str], Artifact], labels: Mapping[str, str]) -> Lineage:
    """The lineage of `roots`, in the order of `labels` where the inputs allow it.

    `lookup` gives the artifact of a key, `labels` its stage's name. Raises `ArtifactError` for a damaged artifact.
    """
    artifacts: dict[str, Node] = {}
    wanted = list(dict.fromkeys(roots))
    while wanted:
        key = wanted.pop()
        if key not in artifacts:
            artifacts[key] = _read(lookup(key), labels.get(key, ""))
            wanted += artifacts[key].inputs.values()
    ordered: dict[str, Node] = {}

    def visit(key: str) -> None:
        if key not in ordered:
            for needed in artifacts[key].inputs.values():
                visit(needed)
            ordered[key] = artifacts[key]

    for key in (*(k for k in labels if k in artifacts), *sorted(artifacts)):
        visit(key)
    return Lineage(ordered)


def _read(artifact: Artifact, name: str) -> Node:
    manifest = read_manifest(artifact.path)
    return Node(
        key=artifact.key,
        name=name,
        kind=manifest.kind,
        type=manifest.type,
        spec=manifest.spec.get("spec", {}),
        inputs=manifest.inputs,
        made=manifest.made,
        stats=read_stats(artifact.path),
        path=artifact.path,
    )
