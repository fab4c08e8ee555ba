"""From the parts of models to a model folder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from torch import nn

from embedkit.core.errors import ModelError
from embedkit.models.attention import Attention, set_attention
from embedkit.models.pooling import AnyPooling
from embedkit.models.tokens import set_padding
from embedkit.retrieval.identity import read_config
from embedkit.retrieval.loading import load_model, no_progress_bars


@contextmanager
def drawn_by(seed: int) -> Iterator[None]:
    """New weights are drawn by `seed`; torch's generator is afterwards what it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        yield


def open_transformer(folder: Path, *, layers: int | None, attention: Attention | None) -> SentenceTransformer:
    """The model in `folder`, of its first `layers` layers, with this attention; None leaves either as it is."""
    model = load_model(folder, device="cpu")
    if type(model[0]) is not Transformer:
        kind = type(model[0]).__name__
        raise ModelError(
            f"{folder}: begins with a {kind}; a backbone is a transformer, with vectors for tokens to pool"
        )
    set_padding(model.tokenizer)
    if layers is not None:
        keep_layers(model[0].model, layers)
    if attention is not None:
        set_attention(model[0].model, attention)
    return model


def keep_layers(transformer: Any, layers: int) -> None:
    """Cut a transformers model after its first `layers` layers."""
    config = transformer.config
    found = getattr(config, "num_hidden_layers", None)
    stacks = [m for m in transformer.modules() if isinstance(m, nn.ModuleList) and len(m) == found]
    if len(stacks) != 1:
        raise ModelError(f"layers: {config.model_type} is not one stack of layers that can be cut")
    if layers > len(stacks[0]):
        raise ModelError(f"layers: the model has {len(stacks[0])}, {layers} cannot be kept")
    del stacks[0][layers:]
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]


def with_head(
    model: SentenceTransformer, pooling: AnyPooling, *, projection: Sequence[int], normalize: bool, seed: int
) -> SentenceTransformer:
    """The transformer of `model` with this pooling, then linear layers to each of the widths in `projection`."""
    transformer: Any = model[0]
    width = transformer.get_embedding_dimension()
    config = transformer.model.config
    config.output_hidden_states = pooling.all_layers
    tail: list[nn.Module] = []
    with drawn_by(seed):
        tail.append(pooling.build(width, config.num_hidden_layers))
        for wanted in projection:
            tail.append(Dense(width, wanted, bias=False, activation_function=None))
            width = wanted
    if normalize:
        tail.append(Normalize())
    return _like(model, [transformer, *tail], similarity="cosine" if normalize else model.similarity_fn_name)


def towers(query: Path, document: Path, *, tied: bool) -> SentenceTransformer:
    """A Router of two models, one for queries and one for documents; `tied`: with one transformer for both."""
    models = [load_model(folder, device="cpu") for folder in (query, document)]
    for model, folder in zip(models, (query, document), strict=True):
        if isinstance(model[0], Router):
            raise ModelError(f"{folder}: has towers of its own; a tower is a model that embeds all texts alike")
    _check_towers(*models)
    asking: list[Any] = list(models[0].children())
    told: list[Any] = list(models[1].children())
    if tied:
        if not _equal(asking[0], told[0]):
            raise ModelError("tied: the transformers of the query and document models differ; give both the same base")
        asking[0] = told[0]
    router = Router.for_query_document(asking, told)
    result = _like(models[1], [router], similarity=models[1].similarity_fn_name)
    asked, said = read_config(query), read_config(document)
    own = {"query": asked.prompts["query"], "document": said.prompts["document"]}
    default = models[1].default_prompt_name  # of texts that are neither, which the document model embeds
    if default is not None and default in said.named_prompts:
        own.setdefault(default, said.named_prompts[default])
    result.prompts = {**said.named_prompts, **asked.named_prompts, **own}
    return result


def write(model: SentenceTransformer, out: Path) -> None:
    """Save a model as an ordinary folder."""
    with no_progress_bars():
        model.save(str(out), create_model_card=False)


def _check_towers(query: SentenceTransformer, document: SentenceTransformer) -> None:
    facts: dict[str, list[Any]] = {
        "dimensions": [model.get_embedding_dimension() for model in (query, document)],
        "similarity": [model.similarity_fn_name for model in (query, document)],
        "truncation": [model.truncate_dim for model in (query, document)],
    }
    for name, (asking, told) in facts.items():
        if asking != told:
            raise ModelError(
                f"towers: {name} of the query model is {asking}, of the document model {told}; both must be the same, "
                "for instance by a backbone with a `projection`"
            )


def _equal(one: nn.Module, other: nn.Module) -> bool:
    mine, others = one.state_dict(), other.state_dict()
    return mine.keys() == others.keys() and all(torch.equal(mine[name], others[name]) for name in mine)


def _like(model: SentenceTransformer, modules: list[Any], *, similarity: Any) -> SentenceTransformer:
    """A model of other modules that is used as `model` is."""
    return SentenceTransformer(
        modules=modules,
        device="cpu",
        prompts={name: text for name, text in model.prompts.items() if text is not None},
        default_prompt_name=model.default_prompt_name,
        similarity_fn_name=similarity,
        truncate_dim=model.truncate_dim,
    )
