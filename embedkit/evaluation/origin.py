"""What is known of where a model comes from: its own card, and the artifacts it was made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from embedkit.core.errors import EmbedkitError
from embedkit.core.store import MANIFEST, Manifest, read_manifest


@dataclass(frozen=True)
class About:
    """What the weights and settings of a model do not tell. None: not known."""

    license: str | None = None  # as the hub names it, e.g. apache-2.0, or the address of its text
    languages: Sequence[str] | None = None  # "en", or as mteb names it: "eng-Latn"
    open_weights: bool | None = None
    base_model: str | None = None  # hub id of the model this one was trained from
    trained_on: Sequence[str] | None = None  # mteb tasks, or hub ids of data sets; () for none of mteb's
    training_code: str | None = None  # address
    training_data: str | bool | None = None  # address, or whether it is public
    reference: str | None = None  # address of the model
    citation: str | None = None  # BibTeX
    release_date: str | None = None  # YYYY-MM-DD
    contacts: Sequence[str] | None = None


def about(folder: Path) -> About:
    """What the card of the model in `folder` says, in the front matter that the hub reads; then what its lineage says,
    if the folder is an artifact among those it was made of."""
    card, made = _front_matter(folder / "README.md"), list(_lineage(folder.resolve()))
    bases = {name for name in map(_hub_name, _of_kind(made[1:], "pretrained")) if name}
    data = [_hub_name(one) for one in _of_kind(made, "data")]
    known = [name for name in data if name]
    license_, base = card.get("license"), _texts(card.get("base_model"))
    return About(
        license=license_ if isinstance(license_, str) and license_ != "other" else None,
        languages=_texts(card.get("language")) or None,
        base_model=base[0] if len(base) == 1 else next(iter(bases)) if len(bases) == 1 else None,
        # one set without a name, and what the model was trained on is not known
        trained_on=_texts(card.get("datasets")) or (sorted(known) if data and len(known) == len(data) else None),
    )


def _front_matter(path: Path) -> Mapping[str, Any]:
    """The YAML at the head of a model card; empty if there is none."""
    try:
        _, head, _ = path.read_text(encoding="utf-8").split("---\n", 2)
        found = yaml.safe_load(head)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _lineage(folder: Path) -> Iterator[Manifest]:
    """The manifest of an artifact and of everything behind it that lies beside it."""
    wanted, seen = [folder], {folder}
    while wanted:
        place = wanted.pop()
        if not (place / MANIFEST).is_file():
            continue
        try:
            manifest = read_manifest(place)
        except (EmbedkitError, KeyError, AttributeError):  # a file of this name that is not ours
            continue
        yield manifest
        behind = {folder.parent / key for key in manifest.inputs.values()} - seen
        seen |= behind
        wanted += sorted(behind)


def _of_kind(made: Sequence[Manifest], kind: str) -> list[Manifest]:
    return [one for one in made if one.kind == kind]


def _hub_name(manifest: Manifest) -> str | None:
    source = manifest.spec.get("spec", {}).get("source", {})
    return str(source["name"]) if source.get("kind") == "hub" and source.get("name") else None


def _texts(value: object) -> list[str]:
    """A text or a list of texts as a list."""
    return (
        [value]
        if isinstance(value, str)
        else [t for t in value if isinstance(t, str)]
        if isinstance(value, list)
        else []
    )
