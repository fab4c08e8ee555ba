"""Low-rank adapters: the transformer stays as it is, and small matrices beside its weights learn."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from embedkit.core.errors import ModelError, did_you_mean
from embedkit.core.spec import Spec
from embedkit.core.store import write_atomically
from embedkit.retrieval.adapters import CONFIG, adapter_of, read_adapter, unload
from embedkit.retrieval.model_folder import module_config

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel


class LoRA(Spec):
    """Adapters: each targeted weight W (out, in) is used as W + s B A, and of these A (rank, in) and B (out, rank)
    learn, with what is not the transformer (pooling heads); s = alpha / rank, or alpha / √rank with `rslora`.

    `targets` are all linear layers of the transformer, those that peft chooses for its kind (`auto`: the projections
    to queries and values, mostly), or layers by the ends of their names, such as [q_proj, v_proj]. `dora` learns the
    lengths of W's rows apart from their directions.

    With `merge`, W + s B A is computed in float32 and the artifact is a model like any other. Without, the artifact
    holds the model as it was and, beside it, the adapter as peft saves it; embedkit reads both (safetensors and JSON
    only, see `retrieval.adapters`) and merges them when it loads the model.

    Reference: LoRA, Hu et al., 2021, https://arxiv.org/abs/2106.09685; rsLoRA, Kalajdzievski, 2023,
    https://arxiv.org/abs/2312.03732; DoRA, Liu et al., 2024, https://arxiv.org/abs/2402.09353.
    """

    rank: PositiveInt = 16
    alpha: PositiveFloat = 32.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of what goes into A
    targets: Literal["all-linear", "auto"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all-linear"
    rslora: bool = False
    dora: bool = False
    merge: bool = True


def add_adapter(model: "SentenceTransformer", lora: LoRA, *, folder: Path, seed: int) -> None:
    """Put a fresh adapter, A drawn by `seed` and B zero, on the transformer of the model that was loaded from `folder`;
    nothing else of the transformer learns any more. A `ModelError` for other than one transformer, for a target that
    is not there, and where `folder` has an adapter already."""
    import torch
    from peft import LoraConfig

    from embedkit.training.isolation import randomness_restored

    if adapter_of(folder) is not None:
        raise ModelError(
            f"lora: {folder} has an adapter beside its weights; train the model before it with merge: true"
        )
    transformers = transformers_of(model)
    if len(transformers) != 1:
        raise ModelError(
            f"lora: the model has {len(transformers)} transformers, and an adapter goes on one; train without"
        )
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=_targets(transformers[0], lora),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
    )
    with randomness_restored():
        torch.manual_seed(seed)
        transformers[0].add_adapter(config)
    config.base_model_name_or_path = str(module_config(folder).parent.resolve())  # where checkpoints find it


def transformers_of(model: "SentenceTransformer") -> list["PreTrainedModel"]:
    """The transformers among the model's modules: none, one, or one for each route of a router."""
    from sentence_transformers.base.modules import Transformer

    return [module.model for module in model.modules() if isinstance(module, Transformer)]


def adapted(model: "SentenceTransformer") -> "PreTrainedModel | None":
    """The transformer of the model that has an adapter, if one has."""
    return next((one for one in transformers_of(model) if getattr(one, "peft_config", None)), None)


def reconnect(model: "SentenceTransformer", checkpoint: Path) -> bool:
    """Let a checkpoint's adapter name the folder that the base model now is in; whether it named another."""
    transformer = adapted(model)
    if transformer is None:
        return False
    path, base = _config(checkpoint), Path(str(transformer.peft_config["default"].base_model_name_or_path))
    if path.parent != checkpoint:
        base = _as_tower(base, checkpoint.with_name("base"), path.parent.name)
    config = json.loads(path.read_text(encoding="utf-8"))
    if config["base_model_name_or_path"] == str(base):
        return False
    write_atomically(path, json.dumps(config | {"base_model_name_or_path": str(base)}, indent=2))
    return True


def _as_tower(base: Path, folder: Path, name: str) -> Path:
    """A folder in which the base model is where it is looked for when it is a router's tower: its configuration at the
    top, its weights in a folder that is called as the tower's is."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").symlink_to(base / "config.json")
    (folder / name).symlink_to(base, target_is_directory=True)
    return folder.resolve()


def reread(model: "SentenceTransformer", checkpoint: Path) -> None:
    """Read the adapter's weights from a checkpoint that the trainer has loaded, because it does not get all."""
    transformer = adapted(model)
    if transformer is not None:
        read_adapter(transformer, _config(checkpoint).parent)


@contextmanager
def unreported() -> Iterator[None]:
    """Without transformers' reports of what it misses in checkpoints with adapters, which `reread` then reads."""
    logger = logging.getLogger("transformers.integrations.peft")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def complete_adapter(model: "SentenceTransformer", out: Path) -> None:
    """Where a model with an adapter was saved to `out`, which writes the adapter alone: add the weights it goes beside,
    and take the adapter off the model."""
    transformer = adapted(model)
    if transformer is None:
        return
    path = _config(out)
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = "."  # the folder itself, wherever it goes
    config = {key: sorted(value) if isinstance(value, list) else value for key, value in config.items()}
    write_atomically(path, json.dumps(config, indent=2, sort_keys=True))
    unload(transformer, merge=False)
    transformer.save_pretrained(path.parent)


def _config(folder: Path) -> Path:
    return next(folder.rglob(CONFIG))


def _targets(transformer: "PreTrainedModel", lora: LoRA) -> list[str] | str:
    """In peft's terms."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN
    from torch import nn

    if lora.targets == "all-linear":
        return "all-linear"
    kind = transformer.config.model_type
    linear = [name for name, module in transformer.named_modules() if isinstance(module, nn.Linear | nn.Embedding)]
    ends = sorted({name.rpartition(".")[2] for name in linear})
    if lora.targets == "auto":
        if kind not in KNOWN:
            raise ModelError(f"lora: no targets are known for a {kind}; set targets to all-linear or some of {ends}")
        return list(KNOWN[kind])
    for target in lora.targets:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            hint = did_you_mean(target, ends)
            raise ModelError(f"lora: targets: no layer's name ends in {target!r}{hint}; there are {ends}")
    return list(lora.targets)
