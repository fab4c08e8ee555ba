"""Texts of about equal length together: the forward passes in which the texts of a batch are embedded.

A batch that is padded to its longest text is computed at that length. Here its texts are sorted by length, and cut
where the padding that is saved is worth more than one more, smaller pass. Lengths alone decide, so a batch is cut the
same way whenever it is seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

Features = dict[str, Any]
Budget = int | Literal["auto"] | None
Ints = NDArray[np.int64]
# What a forward and backward pass costs besides its tokens, in tokens: calls, and adding up the gradients of weights.
PASS_COST: Final = {"cpu": 96, "cuda": 4096}


@dataclass(frozen=True)
class Chunking:
    """How texts are divided among forward passes.

    A pass has at most `size` texts and at most `tokens` tokens, padding counted, but at least one text. With "auto" as
    tokens, texts are divided where that saves time; with None, `size` alone divides them, in their order.
    """

    size: int | None = None
    tokens: Budget = "auto"

    @property
    def rerun(self) -> bool:
        """Whether passes keep no activations and are run again in the backward pass: where a number bounds them."""
        return self.size is not None or isinstance(self.tokens, int)

    def smaller(self, largest: int) -> "Chunking | None":
        """Passes half as large as these, of which the largest has had so many texts; None where that is one text."""
        size = min(self.size or largest, largest) // 2
        tokens = max(1, self.tokens // 2) if isinstance(self.tokens, int) else self.tokens
        return Chunking(size, tokens) if size else None


def texts_in(features: Features) -> int:
    """How many texts these are the features of."""
    from sentence_transformers.base.losses.gradcache import _get_batch_size

    return len(features["offsets"]) if "offsets" in features else int(_get_batch_size(features))


def merged(columns: Sequence[Features]) -> Features | None:
    """The texts of all columns as one, columns in order; None where they are of different kinds, or go different ways.

    A Router's features tell their route, and prompts their length: columns that differ in these stay apart.
    """
    first = columns[0]
    if not all(_rectangular(column) and column.keys() == first.keys() for column in columns):
        return None
    plain = [{name: v for name, v in column.items() if not isinstance(v, Tensor)} for column in columns]
    if any(other != plain[0] for other in plain):
        return None
    width = max(column["attention_mask"].shape[1] for column in columns)
    left = any(_left(column["attention_mask"]) for column in columns)

    def wide(value: Tensor) -> Tensor:
        missing = width - value.shape[1]
        return pad(value, (missing, 0) if left else (0, missing))  # what is there does not matter: it is masked

    return plain[0] | {name: torch.cat([wide(c[name]) for c in columns]) for name in first if name not in plain[0]}


def passes(features: Features, how: Chunking) -> tuple[list[Features], Tensor | None]:
    """The features of each forward pass, and for every text its place among those of all passes; None: in order.

    Each is what a tokenizer would give of its texts alone. Only token by token features with a mask are sorted. Others,
    unpadded ones among them, are divided in order, and only to save memory; those of static embeddings never.
    """
    if "offsets" in features:
        return [features], None
    if how.tokens is None or not _rectangular(features):
        return _in_order(features, how), None
    mask = features["attention_mask"]
    inside = mask.cpu().numpy().astype(bool)
    starts, stops = inside.argmax(axis=1), inside.shape[1] - inside[:, ::-1].argmax(axis=1)
    order, counts = divided(stops - starts, how, device=mask.device.type)
    if len(counts) == 1:
        return [features], None
    rows = torch.from_numpy(order).to(mask.device)
    bounds = np.cumsum(counts)[:-1]
    spans = [(int(starts[part].min()), int(stops[part].max())) for part in np.split(order, bounds)]
    parts = [_part(features, some, *span) for some, span in zip(torch.split(rows, counts), spans, strict=True)]
    return parts, rows.argsort()


def divided(lengths: Ints, how: Chunking, *, device: str = "cpu") -> tuple[Ints, list[int]]:
    """The texts, longest first, and how many of them each pass has: the division of least cost.

    A pass costs its texts times its longest, and `PASS_COST`. By dynamic programming over the distinct lengths, exact
    where nothing bounds a pass: then it is never better to end one between texts of equal length.
    """
    cost = PASS_COST.get(device, PASS_COST["cuda"])
    order = np.argsort(-lengths, kind="stable")
    widths, counts = np.unique(-lengths, return_counts=True)
    widths = np.maximum(-widths, 1)  # longest first
    before = np.concatenate([[0], np.cumsum(counts)])  # texts that are longer than each
    limit = np.full(len(widths), len(lengths)) if how.size is None else np.full(len(widths), how.size)
    if isinstance(how.tokens, int):
        limit = np.minimum(limit, np.maximum(how.tokens // widths, 1))
    best, came = np.zeros(len(widths) + 1), np.zeros(len(widths) + 1, dtype=np.int64)
    for end in range(1, len(widths) + 1):
        texts = before[end] - before[:end]
        total = best[:end] + texts * widths[:end] + cost * -(-texts // limit[:end])
        came[end] = total.argmin()
        best[end] = total[came[end]]
    parts: list[int] = []
    end = len(widths)
    while end:
        texts = int(before[end] - before[came[end]])
        parts += reversed(_evenly(texts, int(limit[came[end]])))
        end = came[end]
    return order, parts[::-1]


def _evenly(texts: int, limit: int) -> list[int]:
    several = -(-texts // limit)
    return [texts // several + (part < texts % several) for part in range(several)]


def _rectangular(features: Features) -> bool:
    """Whether every tensor of the features has a value for each token of texts that are padded to one length."""
    mask = features.get("attention_mask")
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        return False
    return all(value.shape == mask.shape for value in features.values() if isinstance(value, Tensor))


def _left(mask: Tensor) -> bool:
    return bool(mask[:, -1].all()) and not bool(mask[:, 0].all())


def _part(features: Features, rows: Tensor, start: int, stop: int) -> Features:
    return {name: v[:, start:stop][rows] if isinstance(v, Tensor) else v for name, v in features.items()}


def _in_order(features: Features, how: Chunking) -> list[Features]:
    """sentence-transformers' own division, which knows where unpadded texts and the images of a text end."""
    from sentence_transformers.base.losses.gradcache import _create_minibatch, _minibatch_ranges

    counted = "cu_seq_lens_q" in features or "attention_mask" in features
    tokens = how.tokens if counted and isinstance(how.tokens, int) else None
    if tokens is None and how.size is None:
        return [features]
    size = how.size or texts_in(features)
    ranges = _minibatch_ranges(features, size, tokens)  # by tokens, where they are given, and any number of texts
    cut = [(at, min(at + size, stop)) for start, stop in ranges for at in range(start, stop, size)]
    return [_create_minibatch(features, start, stop) for start, stop in cut]
