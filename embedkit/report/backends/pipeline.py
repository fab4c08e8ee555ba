"""A sentence-transformers model as a transformer that can be exported, and the modules that follow it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import WeightedLayerPooling
from torch import Tensor, nn
from torch.nn.functional import normalize

from embedkit.core.errors import ModelError
from embedkit.modules.layerwise_pooling import LayerwisePooling
from embedkit.retrieval.loading import load_model

Features = dict[str, Any]
_OF_ALL_LAYERS: Final = (LayerwisePooling, WeightedLayerPooling)


class Hidden(nn.Module):
    """A transformer as a function of its tensors, in the order of `names`: the last hidden states, (rows, L, D)."""

    def __init__(self, transformer: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.transformer = transformer
        self.names = tuple(names)

    def forward(self, *tensors: Tensor) -> Tensor:
        """What the model's later modules start from."""
        hidden: Tensor = self.transformer(**dict(zip(self.names, tensors, strict=True))).last_hidden_state
        return hidden


@dataclass(frozen=True)
class Pipeline:
    """A model on the CPU in float32."""

    model: SentenceTransformer
    hidden: Hidden
    limit: int  # tokens

    @classmethod
    def open(cls, folder: Path) -> "Pipeline":
        """Raises `ModelError` if the model does not begin with a transformer of its own for all texts, or pools more of
        that than its last hidden states."""
        model = load_model(folder, device="cpu").float().eval()
        first = model[0]
        if not isinstance(first, Transformer):
            raise ModelError(
                f"{folder}: begins with {type(first).__name__}; only a model that begins with one transformer has "
                "ONNX or OpenVINO files, so leave out `backends`"
            )
        if layers := [type(module).__name__ for module in model if isinstance(module, _OF_ALL_LAYERS)]:
            raise ModelError(
                f"{folder}: {layers[0]} pools what every layer says, and ONNX and OpenVINO files give that of the "
                "last; leave out `backends`"
            )
        names = [name for name, value in model.preprocess(["a text"]).items() if _is_input(name, value)]
        return cls(model, Hidden(first.auto_model, names), int(model.max_seq_length or 512))

    def features(self, texts: Sequence[str]) -> Features:
        """The tokens of documents."""
        return dict(self.model.preprocess(list(texts), task="document"))

    def inputs(self, features: Mapping[str, Any]) -> dict[str, Tensor]:
        """What the transformer takes of the features."""
        return {name: features[name] for name in self.hidden.names}

    @torch.no_grad()
    def vectors(self, features: Features, hidden: Tensor | None = None) -> Tensor:
        """(rows, D) of unit length; `hidden` takes the place of what the transformer gives."""
        if hidden is None:
            hidden = self.hidden(*self.inputs(features).values())
        given = {**features, "token_embeddings": hidden}
        for module in self._later():
            given = module(given)
        return normalize(given["sentence_embedding"], dim=-1)

    def _later(self) -> Iterator[nn.Module]:
        modules = iter(self.model)
        next(modules)
        return modules


def _is_input(name: str, value: Any) -> bool:
    return name in ("input_ids", "attention_mask", "token_type_ids") and isinstance(value, Tensor)
