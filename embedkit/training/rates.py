"""Which parameters learn, and how fast: learning rates by name and by layer, and frozen parts."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator

from embedkit.core.errors import StageError

if TYPE_CHECKING:
    from torch import nn

_LAYER: Final = re.compile(r"\.(?:layers?|h|blocks?)\.(\d+)\.")  # of an encoder or decoder, its number from below
_EMBEDDINGS: Final = re.compile(r"embed|\.wte\.|\.wpe\.|\.shared\.")


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]
"""A regular expression, looked for anywhere in the names of parameters, such as `0.auto_model.embeddings`."""


def freeze(model: "nn.Module", patterns: Iterable[str]) -> None:
    """Let parameters whose name matches any of these patterns not learn. A `StageError` for a pattern without any,
    or where none are left that learn."""
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        for name in _matching(pattern, parameters, "freeze"):
            parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise StageError("freeze: nothing is left that learns; freeze less")


def learning_rates(
    loss: "nn.Module", *, rate: float, by_pattern: Mapping[str, float], layer_decay: float | None
) -> dict[str, float]:
    """The learning rates that differ from `rate`, as `learning_rate_mapping` of the trainer takes them.

    Names are those of the model's parameters, and of the loss's own if it has some. `by_pattern` goes before
    `layer_decay`, and of its patterns the last that matches. With L layers, layer l = 0 ... L - 1 from below learns
    with rate · decay^(L - l), embeddings with rate · decay^(L + 1), and what is above the layers with the rate itself.

    Reference: layer-wise decay as in ELECTRA, Clark et al., 2020, https://arxiv.org/abs/2003.10555, appendix.
    """
    whole = {_short(name): name for name, parameter in loss.named_parameters() if parameter.requires_grad}
    rates = {} if layer_decay is None else _by_layer(whole, rate, layer_decay)
    for pattern, own in by_pattern.items():
        rates |= dict.fromkeys(_matching(pattern, whole, "learning_rates"), own)
    groups: dict[float, list[str]] = {}
    for name in whole:
        if name in rates:
            groups.setdefault(rates[name], []).append(re.escape(whole[name]))
    return {rf"^(?:{'|'.join(names)})$": own for own, names in groups.items()}


def _by_layer(names: Iterable[str], rate: float, decay: float) -> dict[str, float]:
    found = {name: _LAYER.search(name) for name in names}
    layers = {name: int(match[1]) for name, match in found.items() if match is not None}
    if not layers:
        raise StageError("layer_decay: the parameters that learn are in no numbered layers; leave layer_decay out")
    top = max(layers.values()) + 1
    depths = {name: top - layer for name, layer in layers.items()}
    depths |= {name: top + 1 for name in found if name not in layers and _EMBEDDINGS.search(name)}
    return {name: rate * decay**depth for name, depth in depths.items()}


def _matching(pattern: str, names: Iterable[str], where: str) -> list[str]:
    found = [name for name in names if re.search(pattern, name)]
    if not found:
        raise StageError(f"{where}: {pattern!r} matches no parameter that learns; there are {_like(pattern, names)}")
    return found


def _like(pattern: str, names: Iterable[str]) -> str:
    """The names nearest to a pattern, those of all layers as one."""
    kinds = list(dict.fromkeys(_LAYER.sub(lambda m: m[0].replace(m[1], "*"), name) for name in names))
    near = difflib.get_close_matches(pattern, kinds, n=3, cutoff=0.3) or kinds[:3]
    return ", ".join(near)


def _short(name: str) -> str:
    """A parameter's name in the model, from its name in the loss that holds the model."""
    return name.removeprefix("model.")
