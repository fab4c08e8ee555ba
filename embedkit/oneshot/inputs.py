"""What a command's words for data and models mean: files, folders, data sets and models of the hub, packages."""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from embedkit.core.errors import EmbedkitError, RecipeError
from embedkit.data.rows import SUFFIXES
from embedkit.data.table_files import find_table

_KINDS: Final = {".jsonl": "jsonl", ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
_SAVED: Final = ("dataset_dict.json", "state.json")  # of `save_to_disk`
_COMMIT: Final = re.compile("[0-9a-f]{40}")


def data_source(data: str, columns: Mapping[str, str]) -> dict[str, Any]:
    """The `source` of a `data` stage that reads `data`: a BEIR folder, a file or folder of pairs, `hub:NAME@REVISION`.

    `columns` are those of a table of pairs: what -> the name of the column that holds it.
    Raises `RecipeError` if it is none of these.
    """
    if data.startswith("hub:"):
        name, revision = _pinned(data.removeprefix("hub:"), "dataset", "DATA")
        layout = {"layout": {"kind": "pairs", "columns": dict(columns)}} if columns else {}
        return {"kind": "hub", "name": name, "revision": revision, **layout}
    path, named = Path(data), {"columns": dict(columns)} if columns else {}
    if not path.is_dir():
        return {"kind": _kind_of(path), "path": data, **named}
    if find_table(path, "corpus") is not None:
        if columns:
            raise RecipeError(f"--columns: {data} is a BEIR folder, whose columns have names of their own")
        return {"kind": "beir", "path": data}
    if any((path / name).is_file() for name in _SAVED):
        return {"kind": "hub", "path": data, "layout": {"kind": "pairs", **named}}
    if any((path / "corpus" / name).is_file() for name in _SAVED):
        return {"kind": "hub", "path": data}
    kinds = sorted({_KINDS[file.suffix] for file in path.iterdir() if file.suffix in _KINDS})
    if len(kinds) == 1:
        return {"kind": kinds[0], "path": data, **named}
    found = f"has files of several kinds ({', '.join(kinds)})" if kinds else "has neither a corpus nor files of pairs"
    raise RecipeError(
        f"DATA {data}: the folder {found}; expected a BEIR folder (corpus, queries, qrels), or files of pairs that "
        f"end in one of {', '.join(SUFFIXES)}"
    )


def _kind_of(path: Path) -> str:
    if not path.is_file():
        hint = "; a data set of the hub is hub:NAME@REVISION" if path.parts[1:] and not path.is_absolute() else ""
        raise RecipeError(f"DATA {path}: no such file or folder{hint}")
    if path.suffix not in _KINDS:
        raise RecipeError(f"DATA {path}: not a file that is read; pairs are in files that end in {', '.join(SUFFIXES)}")
    return _KINDS[path.suffix]


def _is_package(name: str) -> bool:
    try:
        return name.isidentifier() and importlib.util.find_spec(name) is not None
    except ValueError:  # a module that is loaded, but not from a package
        return False


def model_source(model: str, option: str = "--model") -> dict[str, Any]:
    """The `source` of a `pretrained` stage: a folder, an installed package with a model, NAME@REVISION of the hub.

    Without a revision, the hub's newest commit is taken; the source names it. Raises `RecipeError` if it is none.
    """
    if Path(model).is_dir():
        return {"kind": "folder", "path": model}
    if _is_package(model):
        return {"kind": "package", "package": model}
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", model) and not model.startswith("."):
        name, revision = _pinned(model, "model", option)
        return {"kind": "hub", "name": name, "revision": revision}
    raise RecipeError(
        f"{option} {model}: no such folder and no such package; expected a model's folder, an installed package that "
        "holds one, or ORG/NAME@REVISION of the hub"
    )


def _pinned(text: str, what: str, option: str) -> tuple[str, str]:
    """Name and commit."""
    name, _, revision = text.partition("@")
    if _COMMIT.fullmatch(revision):
        return name, revision
    from embedkit.retrieval.hub import commit_of

    try:
        return name, commit_of(name, revision or "main", what)
    except EmbedkitError as error:
        raise type(error)(f"{option} {error}") from error
