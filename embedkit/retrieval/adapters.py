"""Adapters of low rank beside a model's weights: read safely, and merged into them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedkit.core.errors import ModelError
from embedkit.retrieval.identity import read_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
_WHOLE: Final = ("modules_to_save", "trainable_token_indices")  # which `unload` does not merge


def adapter_of(folder: Path) -> Path | None:
    """The folder in a model folder that has an adapter beside the transformer's weights; None where none has.

    Raises `ModelError` for an adapter that is not LoRA in safetensors, or not beside the weights it adapts: the model
    that it names instead could be anything by the time it is loaded.
    """
    configs = sorted(folder.rglob(CONFIG))
    if not configs:
        return None
    place = configs[0].parent
    if len(configs) > 1 or not (place / "config.json").is_file() or not list(place.glob("model*.safetensors")):
        raise ModelError(f"{configs[0]}: an adapter without its base model; merge it into the base and save that")
    if not (place / WEIGHTS).is_file():
        raise ModelError(f"{place}: has no {WEIGHTS}; only safetensors are loaded")
    config = read_json(configs[0])
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise ModelError(f"{configs[0]}: peft_type should be 'LORA', the kind of adapter that can be merged")
    if whole := [name for name in _WHOLE if config.get(name)]:
        raise ModelError(
            f"{configs[0]}: {whole[0]} has weights of its own beside those of low rank; merge the adapter where it was "
            "made (peft's `merge_and_unload`) and save that"
        )
    return place


@contextmanager
def without_adapter(folder: Path, place: Path | None) -> Iterator[Path]:
    """A folder with all of `folder`, by links, but for the adapter in `place`; `folder` itself where there is none."""
    if place is None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as passing:
        for path in (path for path in folder.rglob("*") if path.is_file()):
            if path.parent == place and path.name in (CONFIG, WEIGHTS):
                continue
            link = Path(passing) / path.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
        yield Path(passing)


def merge_adapter(model: "SentenceTransformer", place: Path) -> None:
    """Merge the adapter in the folder `place` into the weights of the model's transformer."""
    import torch

    try:
        from peft import PeftConfig
    except ImportError as error:
        raise ModelError(f"{place / CONFIG}: to read an adapter, `pip install peft`") from error
    from sentence_transformers.base.modules import Transformer

    found = [module.model for module in model.modules() if isinstance(module, Transformer)]
    if len(found) != 1:
        raise ModelError(f"{place / CONFIG}: an adapter goes on one transformer, and this model has {len(found)}")
    transformer: Any = found[0]
    config = PeftConfig.from_pretrained(str(place))
    config.inference_mode = False  # it would be merged as well, but not read into
    with torch.random.fork_rng([]):  # peft draws weights before it reads them
        transformer.add_adapter(config)
    read_adapter(transformer, place)
    unload(transformer, merge=True)


def read_adapter(transformer: "PreTrainedModel", place: Path) -> None:
    """Read the weights of the transformer's adapter from the folder `place`, each of them.

    With peft's own reader: transformers' (5.23) loses the magnitudes of DoRA.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    path = place / WEIGHTS
    found = load_file(path)
    result: Any = set_peft_model_state_dict(transformer, found, adapter_name="default")
    learned = {name for name, _ in transformer.named_parameters() if ".lora_" in name}
    if result.unexpected_keys or (missing := sorted(learned.intersection(result.missing_keys))):
        name = (result.unexpected_keys or missing)[0]
        raise ModelError(f"{path}: is not of this adapter: {name} is only in one of the two")


def unload(transformer: "PreTrainedModel", *, merge: bool) -> None:
    """Take the adapters off a transformer; with `merge`, its weights become what they were with the adapters.

    Merged weights are computed and kept in float32.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = {name: layer for name, layer in transformer.named_modules() if isinstance(layer, BaseTunerLayer)}
    for name, layer in layers.items():
        if merge:
            layer.float()  # type: ignore[attr-defined]
            layer.merge(safe_merge=True)
        transformer.set_submodule(name, layer.get_base_layer())
    transformer.requires_grad_(True)
    del transformer.peft_config
    transformer._hf_peft_config_loaded = False
