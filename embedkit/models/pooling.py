"""How the vectors of a text's tokens become the vector of the text."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from embedkit.core.errors import ModelError
from embedkit.core.spec import Spec


class PlainPooling(Spec):
    """A pooling without weights: sentence-transformers' own, right for padding on either side."""

    kind: Literal["mean", "cls", "lasttoken"]
    include_prompt: bool = True  # false: the prompt's tokens are read by the others, but not pooled

    @property
    def all_layers(self) -> bool:
        """Whether it needs what every layer says."""
        return False

    def build(self, dimension: int, layers: int) -> Any:
        """The module for a model of this many dimensions and layers."""
        from sentence_transformers.sentence_transformer.modules import Pooling

        return Pooling(dimension, pooling_mode=self.kind, include_prompt=self.include_prompt)


class LatentPooling(Spec):
    """Latent attention (NV-Embed), see `modules.latent_attention`."""

    kind: Literal["latent_attention"] = "latent_attention"
    latents: PositiveInt = 512
    heads: PositiveInt = 8
    scaled: bool = True  # by the square root of a head's dimensions; the paper prints no scale
    include_prompt: bool = False

    @property
    def all_layers(self) -> bool:
        """Whether it needs what every layer says."""
        return False

    def build(self, dimension: int, layers: int) -> Any:
        """The module for a model of this many dimensions and layers, its weights drawn from torch's generator."""
        from embedkit.modules.latent_attention import LatentAttention

        _check_heads(self.kind, self.heads, dimension)
        return LatentAttention(
            dimension, self.latents, self.heads, scaled=self.scaled, include_prompt=self.include_prompt
        )


class LayerwisePooling(Spec):
    """Trained latents over the means of all layers (Pooling and Attention), see `modules.layerwise_pooling`."""

    kind: Literal["layerwise"] = "layerwise"
    latents: PositiveInt = 64
    heads: PositiveInt = 8
    include_prompt: bool = True

    @property
    def all_layers(self) -> bool:
        """Whether it needs what every layer says."""
        return True

    def build(self, dimension: int, layers: int) -> Any:
        """The module for a model of this many dimensions and layers, its weights drawn from torch's generator."""
        from embedkit.modules.layerwise_pooling import LayerwisePooling as Module

        _check_heads(self.kind, self.heads, dimension)
        return Module(dimension, layers, self.latents, self.heads, include_prompt=self.include_prompt)


def _named(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


_Name = Literal["mean", "cls", "lasttoken", "latent_attention", "layerwise"]
_OneOf = Annotated[PlainPooling | LatentPooling | LayerwisePooling, Field(discriminator="kind")]

AnyPooling = Annotated[_OneOf, BeforeValidator(_named, json_schema_input_type=_Name | _OneOf)]
"""A pooling, or the name of one that is to have its defaults."""


def _check_heads(kind: str, heads: int, dimension: int) -> None:
    if dimension % heads:
        raise ModelError(f"pooling {kind}: {heads} heads cannot share the model's {dimension} dimensions evenly")
