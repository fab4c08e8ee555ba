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
"""A regular expression, looked for anywhere in the names of parameters, such as `embeddings` or `layer\\.[0-5]\\.`."""


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
    every = [_short(name) for name, _ in loss.named_parameters()]
    whole = {_short(name): name for name, parameter in loss.named_parameters() if parameter.requires_grad}
    rates = {} if layer_decay is None else _by_layer(whole, every, rate, layer_decay)
    for pattern, own in by_pattern.items():
        rates |= dict.fromkeys(_matching(pattern, whole, "learning_rates"), own)
    groups: dict[float, list[str]] = {}
    for name in whole:
        if name in rates:
            groups.setdefault(rates[name], []).append(re.escape(whole[name]))
    return {rf"^(?:{'|'.join(names)})$": own for own, names in groups.items()}


def _by_layer(learning: Iterable[str], every: Iterable[str], rate: float, decay: float) -> dict[str, float]:
    """Rates in backbones: modules that have embeddings and numbered layers, learning or not. Heads have no more than
    one of the two."""
    embeddings = {name for name in every if _EMBEDDINGS.search(name)}
    backbones = {_module(name) for name in embeddings}
    tops: dict[str, int] = {}  # how many layers each has
    layers: dict[str, int] = {}
    for name in every:
        if (match := _LAYER.search(name)) and _module(name) in backbones:
            layers[name] = int(match[1])
            tops[_module(name)] = max(tops.get(_module(name), 0), layers[name] + 1)
    if not tops:
        raise StageError("layer_decay: the model has no embeddings below numbered layers; leave layer_decay out")
    depths = {
        name: tops[_module(name)] - layers.get(name, -1)
        for name in learning
        if name in layers or (name in embeddings and _module(name) in tops)
    }
    return {name: rate * decay**depth for name, depth in depths.items()}


def _module(name: str) -> str:
    """Of sentence-transformers' modules the one that a parameter is in: what its name has up to the last number, not
    counting that of a layer."""
    layer = _LAYER.search(name)
    parts = (name[: layer.start()] if layer else name).split(".")
    return ".".join(parts[: max((i + 1 for i, part in enumerate(parts) if part.isdigit()), default=0)])


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
