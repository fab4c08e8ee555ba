"""The datasets library without a network, and with its unpacked copies where they cannot be mistaken.

mteb loads data sets without saying where to keep them, and `datasets` knows the copy of a local file by path and time
alone. Both are settings of the process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import datasets.config
import huggingface_hub.constants

_SETTINGS: Final = (
    (datasets.config, "HF_DATASETS_CACHE"),
    (datasets.config, "DOWNLOADED_DATASETS_PATH"),
    (datasets.config, "EXTRACTED_DATASETS_PATH"),
    (datasets.config, "HF_HUB_OFFLINE"),
    (datasets.config, "HF_DATASETS_OFFLINE"),
    (huggingface_hub.constants, "HF_HUB_OFFLINE"),
)


def seal(work: Path) -> None:
    """From now on nothing that is loaded asks the network, and copies go into `work`, for one content of the data."""
    for module, name in _SETTINGS:
        setattr(module, name, True)
    datasets.config.HF_DATASETS_CACHE = work
    datasets.config.DOWNLOADED_DATASETS_PATH = work / "downloads"
    datasets.config.EXTRACTED_DATASETS_PATH = work / "downloads" / "extracted"


@contextmanager
def unsealed_after() -> Iterator[None]:
    """Undo at the end what `seal` did inside."""
    before = [(module, name, getattr(module, name)) for module, name in _SETTINGS]
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
