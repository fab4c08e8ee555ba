"""What there is to read about losses: all of it is in their docstrings, their fields and what they learn from."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import yaml

from embedkit.core.errors import RecipeError, did_you_mean
from embedkit.core.spec import Reference, Spec
from embedkit.losses import AnyLoss, Loss
from embedkit.losses.base import Need
from embedkit.losses.wrapper import Wrapper
from embedkit.training.peers import NOT_OFFERED, AnyPeer, Data, Peer

_OURS: tuple[type[Loss], ...] = get_args(get_args(AnyLoss)[0])
_PEERS: tuple[type[Peer], ...] = get_args(get_args(AnyPeer)[0])
_NEEDS: dict[Need, tuple[str, str]] = {  # those that are the user's business: what it is, and where it comes from
    "targets": ("target scores", "Target scores come from a `teach` stage, or from the data's score column."),
    "negatives": ("mined negatives", "Negatives come from a `mine` stage, or from the data."),
    "guide": ("a guide model", "The stage's field `guide` names the stage that makes the guide."),
}
_MANUAL = "https://sbert.net/docs/package_reference/sentence_transformer/losses.html"
_EXAMPLES: dict[str, Any] = {  # of fields without a default, of losses of sentence-transformers
    "guide": "base",
    "teacher": "base",
    "num_labels": 3,
    "matryoshka_dims": [384, 192, 96],
    "loss": {"name": "MultipleNegativesRankingLoss"},
}


@dataclass(frozen=True)
class Entry:
    """A loss in a list."""

    name: str  # as a recipe has it
    summary: str
    formulas: tuple[str, ...]  # one clause each
    learns_from: str
    source: str  # papers, or whose it is


@dataclass(frozen=True)
class Page:
    """All about a loss."""

    entry: Entry
    paragraphs: tuple[str, ...]  # of the docstring after its first line; those that are indented keep their lines
    stage: str  # the kind of stage that trains with it
    advice: tuple[str, ...]
    fields: tuple[tuple[str, str], ...]  # a line of YAML, and what else may stand there


def losses() -> dict[str, list[Entry]]:
    """embedkit's losses, by what they learn from."""
    groups: dict[str, list[Entry]] = {}
    for loss in _OURS:
        groups.setdefault(_group(loss), []).append(_entry(loss))
    return groups


def peers() -> dict[str, list[Entry]]:
    """The losses of sentence-transformers, by what they learn from."""
    groups: dict[str, list[Entry]] = {}
    for entry in map(_peer_entry, sorted(_PEERS, key=_peer_order)):
        groups.setdefault(f"Learn from {entry.learns_from}", []).append(entry)
    return groups


def page(name: str) -> Page:
    """All about the loss of that name in recipes or in Python. A `RecipeError` if there is none."""
    known: dict[str, type[Loss] | type[Peer]] = {peer.__name__: peer for peer in _PEERS}
    known |= {loss.__name__: loss for loss in _OURS} | {_kind(loss): loss for loss in _OURS}
    if name in NOT_OFFERED:
        raise RecipeError(f"{name} is not offered: {NOT_OFFERED[name]}")
    if name not in known:
        hint = did_you_mean(name, known)
        raise RecipeError(f"no loss is named {name!r}{hint}; `embedkit losses` and `embedkit losses --peers` list them")
    found = known[name]
    if issubclass(found, Loss):
        return Page(
            _entry(found), tuple(_paragraphs(found)), "train", tuple(_advice(found)), tuple(_fields(_loss(found)))
        )
    return Page(_peer_entry(found), (), "train_st", tuple(_peer_advice(found)), tuple(_fields(_peer(found))))


def clauses(line: str) -> list[str]:
    """Parts of a formula, which have wide gaps between them."""
    return re.split(r"(?<=,)\s{2,}", line.strip())


def markdown() -> str:
    """embedkit's losses as a table in Markdown."""
    lines = ["| `kind` | what it is | learns from | paper |", "|---|---|---|---|"]
    for entry in (entry for entries in losses().values() for entry in entries):
        source = re.sub(r"\d{4}\.\d{5}", r"[\g<0>](https://arxiv.org/abs/\g<0>)", entry.source)
        lines.append(f"| `{entry.name}` | {entry.summary} | {entry.learns_from} | {source} |")
    return "\n".join(lines)


def _entry(loss: type[Loss]) -> Entry:
    formula = next(text for text in _paragraphs(loss) if "L = " in text)
    formulas = tuple(clause for line in formula.splitlines() for clause in clauses(line))
    return Entry(_kind(loss), _summary(loss), formulas, _learns_from(loss), _papers(loss))


def _loss(loss: type[Loss]) -> Loss:
    """One with its defaults."""
    return loss(kind=_kind(loss))


def _kind(loss: type[Loss]) -> str:
    return str(loss.model_fields["kind"].default)


def _summary(of: type[Spec]) -> str:
    return inspect.cleandoc(of.__doc__ or "").partition("\n")[0].removesuffix(" [R]")


def _paragraphs(loss: type[Loss]) -> Iterator[str]:
    """What follows the first line: after a blank line, and at the reference, a new one starts."""
    text = inspect.cleandoc(loss.__doc__ or "").partition("\n")[2]
    return (part.strip("\n") for part in re.split(r"\n\n|\n(?=Reference:)", text) if part.strip())


def _papers(loss: type[Loss]) -> str:
    text = " ".join((loss.__doc__ or "").partition("Reference:")[2].split())
    found = re.findall(r"https://arxiv\.org/abs/([\d.]+\d)", text)
    cited = f"arXiv {', '.join(dict.fromkeys(found))}"
    return f"embedkit's own, after {cited}" if text.startswith("[R]") else cited


def _group(loss: type[Loss]) -> str:
    if issubclass(loss, Wrapper):
        return "Work around another loss"
    return "Learn from target scores" if "targets" in _loss(loss).needs else "Learn from queries and their positives"


def _learns_from(loss: type[Loss]) -> str:
    instance = _loss(loss)
    inner = instance.loss.needs if isinstance(instance, Wrapper) else frozenset()
    parts = [text for need, (text, _) in _NEEDS.items() if need in instance.needs - inner]
    if isinstance(instance, Wrapper):
        return ", and ".join(["what its loss does", *parts])
    return _list(parts) if parts else "positives"


def _advice(loss: type[Loss]) -> Iterator[str]:
    yield from (text for need, (_, text) in _NEEDS.items() if need in _loss(loss).needs)
    if "[R]" in (loss.__doc__ or ""):
        yield "[R] marks what is embedkit's own rather than a paper's."


def _peer(peer: type[Peer]) -> Peer:
    """One with its defaults, and with examples of what has none."""
    return peer(**{name: _EXAMPLES[name] for name, field in peer.model_fields.items() if field.is_required()})


def _peer_entry(peer: type[Peer]) -> Entry:
    learns_from = "what another loss does" if "loss" in peer.model_fields else _data(_peer(peer).data)
    return Entry(peer.__name__, _summary(peer), (), learns_from, "")


def _peer_order(peer: type[Peer]) -> tuple[bool | str, ...]:
    """Those without labels first, those around another loss last."""
    data = _peer(peer).data
    return "loss" in peer.model_fields, data.labels is not None, data.rows, data.labels or "", peer.__name__


def _peer_advice(peer: type[Peer]) -> Iterator[str]:
    data = _peer(peer).data
    yield f"Its arguments are those of {_MANUAL}#{peer.__name__.lower()}"
    if data.fewest:
        yield "The stage's field `negatives` says how many; without it there are none."
    if data.scored:
        yield _NEEDS["targets"][1]


def _data(data: Data) -> str:
    if data.rows == "texts":
        return "texts with classes"
    if data.rows == "pairs":
        second = {"scores": "a document, and its score", "classes": "a document, and the pair's class"}
        return f"a query and {second.get(data.labels or '', 'a document, relevant or not')}"
    number = {(0, None): "any number of negatives", (0, 1): "at most one negative", (1, 1): "a negative", (0, 0): ""}
    negatives = number.get((data.fewest, data.most), "one or more negatives")
    labels = {"scores": "the scores of both", "embeddings": "a teacher's embeddings of all"}
    return _list([part for part in ("a query", "a positive", negatives, labels.get(data.labels or "")) if part])


def _list(parts: Iterable[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def _fields(spec: Spec) -> Iterator[tuple[str, str]]:
    """Lines of YAML that make `spec`, losses in it last."""
    schema = type(spec).model_json_schema()
    schema = schema["$defs"][type(spec).__name__] if "$ref" in schema else schema
    fields = type(spec).model_fields
    for name in sorted(fields, key=lambda name: isinstance(getattr(spec, name), Spec)):
        refers = any(isinstance(mark, Reference) for mark in fields[name].metadata)
        comment = "a stage that makes a model" if refers else _type(schema["properties"][name])
        yield f"{name}: {_yaml(getattr(spec, name))}", comment + "; no default" * fields[name].is_required()


def _yaml(value: Any) -> str:
    """In one line, without what need not be said."""
    if isinstance(value, Spec):
        tag = "kind" if "kind" in type(value).model_fields else "name"
        value = {tag: getattr(value, tag), **value.model_dump(mode="json", exclude_defaults=True)}
    plain = list(value) if isinstance(value, tuple) else value
    return str(yaml.safe_dump(plain, default_flow_style=True, width=1000)).partition("\n")[0]


def _type(schema: Mapping[str, Any]) -> str:
    """What a JSON schema accepts, in words."""
    if "const" in schema:
        return ""
    if "anyOf" in schema:
        return " | ".join(_type(arm) for arm in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(schema["enum"])
    if "oneOf" in schema:
        return "a loss"
    if "$ref" in schema:
        return f"fields of {schema['$ref'].rpartition('/')[2]}"
    if schema["type"] == "array":
        return f"[{_type(schema['items'])}, ...]"
    name = {"integer": "whole number", "boolean": "true | false"}.get(schema["type"], schema["type"])
    bounds = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    limits = " and ".join(f"{sign} {schema[key]:g}" for key, sign in bounds.items() if key in schema)
    return f"{name} {limits}".strip()
