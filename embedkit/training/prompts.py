"""What a model puts before the texts it embeds."""

from pathlib import Path
from typing import NamedTuple

from embedkit.retrieval.identity import read_config


class Prompts(NamedTuple):
    """What a model puts before a query and before a document; None for nothing."""

    query: str | None
    document: str | None


def prompts_of(folder: Path) -> Prompts:
    """The prompts that the model in `folder` is used with, see `retrieval.identity.read_config`."""
    prompts = read_config(folder).prompts
    return Prompts(prompts["query"] or None, prompts["document"] or None)
