"""The edge to the datasets library: hub data sets at a pinned commit. It runs no code of theirs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
from datasets.utils import are_progress_bars_disabled

from embedkit.core.errors import DataError
from embedkit.data.rows import Row


def read_config(name: str, revision: str | None, config: str | None, work: Path) -> Mapping[str, Iterator[Row]]:
    """Split -> rows of one config of a hub data set, or of a folder in the same layout. Unpacked under `work`.

    A folder, or its subfolder of the config's name, may also be one that `save_to_disk` of the library wrote.
    """
    shown = are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        found = _saved(name, config) if revision is None else None
        if found is None:
            found = datasets.load_dataset(name, config, revision=revision, cache_dir=str(work / "datasets"))
    except MemoryError:
        raise
    except Exception as error:  # those of the library, of the hub, of its HTTP client; or a data set made by a script
        place = f"{name} at {revision}" if revision else name
        what = f"config {config!r}" if config else "the data set"
        advice = ". A machine without the hub needs `path`, a folder with its files" if revision else ""
        raise DataError(f"{place}: {what} cannot be loaded: {_first_line(error)}{advice}") from error
    finally:
        if not shown:
            datasets.enable_progress_bars()
    label = f"{config}/" if config else ""
    return {str(split): _rows(found[split], f"{label}{split}") for split in found}


def _saved(name: str, config: str | None) -> Any:
    folder = Path(name, config or "")
    if not any((folder / file).is_file() for file in ("dataset_dict.json", "state.json")):
        return None
    found = datasets.load_from_disk(str(folder))
    return {"train": found} if isinstance(found, datasets.Dataset) else found


def _rows(table: Any, label: str) -> Iterator[Row]:
    for number, values in enumerate(table, start=1):
        yield Row(f"{label} row {number}", values)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
