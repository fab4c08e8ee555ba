"""What a model puts before the texts it embeds."""

from pathlib import Path
from typing import Final, NamedTuple

from embedkit.retrieval.identity import prompts_by_name


class Prompts(NamedTuple):
    """What a model puts before a query and before a document; None for nothing."""

    query: str | None
    document: str | None


NO_PROMPTS: Final = Prompts(None, None)


def prompts_of(
    folder: Path, *, query: str | None = None, document: str | None = None, called: str = "the model"
) -> Prompts:
    """The prompts that the model in `folder` is used with, or those of its prompts that have these names.

    Raises `ModelError` for a name that the model, which messages call `called`, does not declare.
    """
    prompts = prompts_by_name(folder, {"query": query, "document": document}, called=called)
    return Prompts(prompts["query"] or None, prompts["document"] or None)
