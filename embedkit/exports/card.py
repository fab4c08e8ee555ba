"""The card of a data set on the hub: front matter that the hub reads, and what the data was made from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from embedkit._version import __version__
from embedkit.core.stats import read_stats
from embedkit.core.store import MANIFEST, read_manifest
from embedkit.exports.exporter import Exported


def card(name: str, folder: Path, exported: Exported, *, license: str | None = None) -> str:
    """README.md for the exported files of the pairs in `folder`. It tells no licence unless given one."""
    header = {
        **({"license": license} if license else {}),
        "tags": ["sentence-transformers", "hard-negatives", "embedkit"],
        "configs": _configs(exported),
    }
    parts = [
        f"---\n{_yaml(header)}---",
        f"# {name.split('/')[-1]}",
        f"Training data for text-embedding retrievers with mined negatives, exported by embedkit {__version__}.",
        "\n".join(f"- {line}" for line in exported.summary()),
        f"## Format\n\n{_format(exported)}",
        *_origin(folder),
    ]
    return "\n\n".join(parts) + "\n"


def _configs(exported: Exported) -> list[dict[str, Any]]:
    """Rows alone are the default; with tables beside, each file is a config of its own."""
    names = {"train": "default"} if len(exported.files) == 1 else {}
    return [
        {"config_name": names.get(name, name), "data_files": [{"split": "train", "path": path.name}]}
        for name, path in exported.files.items()
    ]


def _format(exported: Exported) -> str:
    form = exported.format
    columns = "\n".join(f"| `{field.name}` | {field.type} |" for field in form.layout())
    fields = form.model_dump(exclude_defaults=True, exclude={"kind"})
    options = "".join(f", {key} {value}" for key, value in fields.items())
    return f"{form.kind}{options}\n\n| column | type |\n|---|---|\n{columns}"


def _origin(folder: Path) -> list[str]:
    """What the artifact's manifest and stats say; nothing for tables that embedkit did not make."""
    parts = []
    if (folder / MANIFEST).is_file():
        manifest = read_manifest(folder)
        inputs = "\n".join(f"- {where}: `{key}`" for where, key in sorted(manifest.inputs.items()))
        parts.append(
            f"## Made by\n\nA `{manifest.kind}` stage, key `{manifest.key}`, from\n\n{inputs}\n\n"
            f"```yaml\n{_yaml(manifest.spec)}```"
        )
    stats = read_stats(folder)
    lines = [*stats.get("summary", ()), *(f"warning: {text}" for text in stats.get("warnings", ()))]
    lines += [f"{name}: {count:,}" for name, count in _counts(stats).items()]
    if lines:
        parts.append("## Counts\n\n" + "\n".join(f"- {line}" for line in lines))
    return parts


def _counts(stats: Mapping[str, Any]) -> dict[str, int]:
    counts = stats.get("counts")
    return {k: v for k, v in counts.items() if isinstance(v, int)} if isinstance(counts, dict) else {}


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
