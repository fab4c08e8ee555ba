"""A released model to the Hugging Face hub."""

import tempfile
from pathlib import Path

from embedkit.core.errors import ModelError
from embedkit.report.release import link_model
from embedkit.retrieval.hub import check_online, upload
from embedkit.retrieval.loading import check_folder


def push(name: str, folder: Path, *, private: bool = False) -> str:
    """Push the model that a `package` stage released in `folder`, with its card, to the hub as `name`; its address.

    The repository is made if there is none. What the store keeps beside the model is not sent. Raises `ModelError` if
    the folder is no released model or the hub does not take it; the folder stays as it is.
    """
    check_online(name)
    check_releasable(folder)
    with tempfile.TemporaryDirectory(prefix="embedkit-push-") as place:
        staged = Path(place)
        link_model(folder, staged)
        (staged / "README.md").write_bytes((folder / "README.md").read_bytes())
        return upload(name, staged, kind="model", message="A model trained with embedkit", private=private)


def check_releasable(folder: Path) -> None:
    """Raise `ModelError` unless the folder has a model that loads safely and a model card."""
    check_folder(folder)
    if not (folder / "README.md").is_file():
        raise ModelError(
            f"{folder}: has no README.md, so it is no released model; add a stage `{{kind: package, model: ..., "
            "scores: ...}` to the recipe, which writes its card"
        )
