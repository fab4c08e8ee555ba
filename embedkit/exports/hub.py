"""Exported pairs to the Hugging Face hub, with a card."""

import tempfile
from pathlib import Path

from embedkit.core.errors import DataError
from embedkit.core.records import link_tables
from embedkit.exports.card import card
from embedkit.exports.exporter import Exported
from embedkit.retrieval.hub import check_online, upload


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
        message = f"{exported.format.kind}, {exported.rows} rows"
        try:
            return upload(name, staged, kind="dataset", message=message, private=private)
        except DataError as error:
            raise DataError(f"{error}; {to} is whole") from error
