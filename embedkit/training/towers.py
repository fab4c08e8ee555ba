"""Two towers of one model: queries learn, documents stay as they are."""

from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from torch import nn

from embedkit.core.errors import ModelError
from embedkit.retrieval.loading import load_model, no_progress_bars


def query_side(model: SentenceTransformer, folder: Path) -> SentenceTransformer:
    """A Router of `model`, which embeds queries, and the model in `folder`, which embeds documents and never learns.

    `model` was opened from this folder. Where it is a Router already, it is returned itself, all but its query tower
    frozen; a `ModelError` where nothing of that is its own.
    """
    if isinstance(model[0], Router):
        return _frozen(model, folder)
    for parameter in (documents := load_model(folder, device=model.device.type)).parameters():
        parameter.requires_grad_(False)
    routes: list[Any] = [list(model), list(documents)]
    with no_progress_bars():
        return SentenceTransformer(
            modules=[Router.for_query_document(*routes)],
            device=str(model.device),
            prompts={name: text or "" for name, text in model.prompts.items()},
            default_prompt_name=model.default_prompt_name,
            similarity_fn_name=model.similarity_fn_name,
            truncate_dim=model.truncate_dim,
        )


def _frozen(model: SentenceTransformer, folder: Path) -> SentenceTransformer:
    router: Any = model[0]
    routes: nn.ModuleDict = router.sub_modules
    if not {"query", "document"} <= set(routes) or router.route_mappings:
        raise ModelError(f"{folder}: its router has the routes {sorted(routes)}; query and document are needed")
    kept = {id(parameter) for parameter in routes["document"].parameters()}
    own = {id(parameter) for parameter in routes["query"].parameters()} - kept
    if not own:
        raise ModelError(
            f"{folder}: its towers share all weights, so documents cannot stay as they are while one learns"
        )
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.requires_grad and id(parameter) in own)
    return model
