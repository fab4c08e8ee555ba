"""How a model was made, in words and with sources, told from the specs of its lineage."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from embedkit.losses import AnyLoss
from embedkit.report.lineage import Lineage, Node
from embedkit.report.sections.training import KINDS, loss_name
from embedkit.report.tables import listed

_URL: Final = re.compile(r"https?://[^\s,;)]+[^\s,;.)]")
_SOUPS: Final = {
    "uniform": "https://arxiv.org/abs/2203.05482",
    "greedy": "https://arxiv.org/abs/2203.05482",
    "task_arithmetic": "https://arxiv.org/abs/2212.04089",
    "ties": "https://arxiv.org/abs/2306.01708",
    "dare": "https://arxiv.org/abs/2311.03099",
}
_PARTS: Final = {  # of models: field, its value or the kind of it, what that is, where it is described
    ("attention", "bidirectional"): ("Bidirectional attention in a decoder", "https://arxiv.org/abs/2404.05961"),
    ("pooling", "latent_attention"): ("Latent attention pooling (NV-Embed)", "https://arxiv.org/abs/2405.17428"),
    ("pooling", "layerwise"): ("Multi-layers trainable pooling", "https://arxiv.org/abs/2409.02727"),
    ("vectors", "distilled"): ("Static embeddings, distilled (Model2Vec)", "https://github.com/MinishLab/model2vec"),
}
_BATCHES: Final = {
    "clusters": ("Topic-aware sampling: batches of queries of one topic", "https://arxiv.org/abs/2104.06967"),
    "ngame": ("Batches of whole clusters of like queries (NGAME)", "https://arxiv.org/abs/2207.04452"),
}
_ROUNDS: Final = ("Negatives mined anew by the model in training (ANCE)", "https://arxiv.org/abs/2007.00808")
_PEERS: Final = "https://sbert.net/docs/package_reference/sentence_transformer/losses.html"


@dataclass(frozen=True)
class Method:
    """One thing that was done, and where it is described."""

    what: str
    sources: tuple[str, ...] = ()


def methods(lineage: Lineage) -> list[Method]:
    """What the stages of this lineage did, losses first, each once."""
    found = [method for node in lineage.of_kind(*KINDS) for method in _losses(node)]
    found += [method for node in lineage.of_kind(*KINDS) for method in _rows(node)]
    found += [method for node in lineage.of_kind("backbone", "static") for method in _model(node)]
    found += [_soup(node) for node in lineage.of_kind("soup")]
    found += [_mining(node) for node in lineage.of_kind("mine")]
    return list(dict.fromkeys(found))


def _losses(node: Node) -> Iterator[Method]:
    if node.kind == "train_st":
        yield Method(f"{loss_name(node.spec)} (sentence-transformers)", (_PEERS,))
    others = [source.get("loss") for source in node.spec.get("sources", [])]
    for kind in (kind for loss in (node.spec.get("loss"), *others) for kind in _kinds(loss)):
        if kind in _LOSSES:
            yield _LOSSES[kind]


def _rows(node: Node) -> Iterator[Method]:
    """How rows and negatives were chosen while the model learned."""
    for spec in (node.spec, *node.spec.get("sources", [])):
        if (kind := (spec.get("batches") or {}).get("kind")) in _BATCHES:
            what, source = _BATCHES[kind]
            yield Method(what, (source,))
    if node.spec.get("part"):
        yield Method(_ROUNDS[0], (_ROUNDS[1],))


def _model(node: Node) -> Iterator[Method]:
    for (field, wanted), (what, source) in _PARTS.items():
        value = node.spec.get(field)
        if (value.get("kind") if isinstance(value, Mapping) else value) == wanted:
            yield Method(what, (source,))


def _kinds(value: Any) -> Iterator[str]:
    """The kind of a spec and of the specs inside it."""
    if isinstance(value, Mapping):
        if "kind" in value:
            yield str(value["kind"])
        for inner in value.values():
            yield from _kinds(inner)


def _described(loss: type) -> Method:
    """A loss by the first line and the reference of its docstring."""
    text = loss.__doc__ or ""
    first = text.strip().splitlines()[0].replace("[R]", "").strip().rstrip(".")
    reference = text.partition("Reference:")[2]
    return Method(f"{loss.__name__}: {first[:1].lower()}{first[1:]}", tuple(_URL.findall(reference)))


def _soup(node: Node) -> Method:
    kind = str(node.stats.get("method", ""))
    sources = (_SOUPS[kind],) if kind in _SOUPS else ()
    return Method(f"{kind.replace('_', ' ')} soup of model weights", sources)


def _mining(node: Node) -> Method:
    filters = [f"`{spec.get('kind')}`" for spec in node.spec.get("filters", [])]
    kept = f", candidates filtered by {listed(filters)}" if filters else ""
    return Method(f"hard negatives mined over the whole corpus, known positives left out by id{kept}")


_LOSSES: Final = {loss.model_fields["kind"].default: _described(loss) for loss in get_args(get_args(AnyLoss)[0])}
