"""The edge to the Hugging Face hub for data sets: one repository, one commit."""

import tempfile
from pathlib import Path

from huggingface_hub import HfApi, constants

from embedkit.core.errors import DataError
from embedkit.core.records import link_tables
from embedkit.exports.card import card
from embedkit.exports.exporter import Exported


def check_online(name: str) -> None:
    """Raise `DataError` where the hub's client was told not to use the network."""
    if constants.HF_HUB_OFFLINE:
        raise DataError(f"{name}: HF_HUB_OFFLINE is set, so nothing can be pushed; unset it, or do not push")


def push(name: str, folder: Path, exported: Exported, *, private: bool = False, license: str | None = None) -> str:
    """Push the exported files of the pairs in `folder`, with a card, to the data set `name`; its address.

    The repository is made if there is none. Raises `DataError` if the hub does not take them; the files stay.
    """
    check_online(name)
    to = exported.files["train"]
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as place:
        staged = Path(place)
        link_tables(to.parent, staged, [path.name for path in exported.files.values()])
        (staged / "README.md").write_text(card(name, folder, exported, license=license), encoding="utf-8")
        try:
            api = HfApi()
            url = api.create_repo(name, repo_type="dataset", private=private or None, exist_ok=True)
            api.upload_folder(
                repo_id=name,
                repo_type="dataset",
                folder_path=staged,
                commit_message=f"{exported.format.kind}, {exported.rows} rows",
            )
        except Exception as error:  # those of the hub, of its HTTP client and of the network
            raise DataError(f"{name}: cannot be pushed to the hub: {_first_line(error)}; {to} is whole") from error
    return str(url)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
