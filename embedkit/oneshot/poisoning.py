"""The recipe of `embedkit poisoning`: what it audits, as stages."""

from pathlib import Path
from typing import Any, Final

from embedkit.core.errors import RecipeError
from embedkit.oneshot.draft import Draft
from embedkit.oneshot.inputs import data_source, model_source

TABLES: Final = {"corpus.parquet", "queries.parquet"}  # of every dataset and every set of pairs


def poisoning_draft(*, data: str, model: str, train: str | None) -> Draft:
    """A draft with the stages `model`, and `data` and `train` where those are not artifacts already.

    Nothing is merged or dropped but rows that cannot be read: an audit looks at what is there. Raises `RecipeError`,
    which names the option.
    """
    draft = Draft("poisoning", name="poisoning")
    draft.stage("model", "pretrained")
    draft.put("model.source", model_source(model), f"--model {model}")
    if not is_artifact(Path(data), "qrels"):
        _stage(draft, "data", data_source(data, {}), f"DATA {data}")
    if train is not None and not is_artifact(Path(train), "pairs.parquet"):
        try:
            source = data_source(train, {})
        except RecipeError as error:
            raise RecipeError(*(problem.replace("DATA", "--train", 1) for problem in error.problems)) from None
        _stage(draft, "train", source, f"--train {train}")
    return draft


def is_artifact(folder: Path, beside: str) -> bool:
    """Whether the folder has the tables of a dataset or of pairs, and this file or folder beside them."""
    return (folder / beside).exists() and all((folder / name).is_file() for name in TABLES)


def _stage(draft: Draft, name: str, source: dict[str, Any], option: str) -> None:
    draft.stage(name, "data", exact_duplicates=False, near_duplicates=None)
    draft.put(f"{name}.source", source | {"on_bad_row": "drop"}, option)
