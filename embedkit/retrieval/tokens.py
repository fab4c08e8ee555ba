"""Texts as the numbers a model reads: made once, end to end without padding, and cut into padded batches on the device.

sentence-transformers pads when it tokenises, so a batch is settled before it is known how long its texts are. Here its
own `Transformer.preprocess` tokenises a whole shard without padding, with all it does about prompts, lengths and
special tokens; then texts of equal length go together, and padding them is one gather. Static embeddings need no
padding: their tokens come end to end as they are. Of a model with a tower for each task, the task's tower reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedkit.retrieval.identity import VectorIdentity

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_UNPADDED: Final[Any] = {"text": {"padding": False}, "common": {"return_tensors": None}}
_ROUTED: Final = ("modality", "task")
Features = dict[str, Any]


@dataclass(frozen=True)
class Tokens:
    """n texts of T tokens in all, end to end."""

    columns: Mapping[str, NDArray[np.int32]]  # (T,) each, "input_ids" and what else the tokenizer gives of a token
    counts: NDArray[np.int64]  # (n,) tokens of each text
    extras: Features  # what holds for all texts alike, e.g. the prompt's length

    def on(self, device: torch.device, layout: "Layout") -> "DeviceTokens":
        """The same on a device, copied there without waiting for what it does."""
        columns = {name: torch.from_numpy(column) for name, column in self.columns.items()}
        if device.type == "cuda":
            columns = {name: column.pin_memory() for name, column in columns.items()}
        columns = {name: column.to(device, non_blocking=True) for name, column in columns.items()}
        return DeviceTokens(columns, self.counts, np.cumsum(self.counts) - self.counts, self.extras, layout, device)


@dataclass(frozen=True)
class Layout:
    """How a model wants the texts of a batch put side by side."""

    padding: Mapping[str, int]  # column -> what stands where a text has ended
    left: bool  # padding comes before the text
    flat: bool  # no padding at all: sentence-transformers' unpadded input of variable-length flash attention
    first_position: int  # of a text's tokens, if flat
    bags: bool = False  # no padding, and nothing said of a token but its text: the input of static embeddings

    @staticmethod
    def of(model: "SentenceTransformer", task: str | None = None) -> "Layout":
        """What the tokenizer and the attention of a model that `can_tokenise` want."""
        module: Any = reader(model, task)
        if _is_static(module):
            return Layout({}, left=False, flat=False, first_position=0, bags=True)
        tokenizer = module.tokenizer
        padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
        return Layout(
            padding={**padding, "attention_mask": 0},
            left=tokenizer.padding_side == "left",
            flat=module.can_flatten_inputs,
            first_position=getattr(module, "_flatten_position_offset", 0),
        )


@dataclass(frozen=True)
class DeviceTokens:
    """`Tokens` on a device, ready to be cut into batches."""

    columns: Mapping[str, Tensor]
    counts: NDArray[np.int64]
    starts: NDArray[np.int64]
    extras: Features
    layout: Layout
    device: torch.device

    def batch(self, rows: NDArray[np.int64]) -> Features:
        """What `SentenceTransformer.preprocess` gives of these texts."""
        if self.layout.bags:
            return {**self._bags(rows), **self.extras}
        return {**(self._flat(rows) if self.layout.flat else self._padded(rows)), **self.extras}

    def _padded(self, rows: NDArray[np.int64]) -> Features:
        counts, starts = self._send(self.counts[rows])[:, None], self._send(self.starts[rows])[:, None]
        width = int(self.counts[rows].max(initial=0))
        offsets = torch.arange(width, device=self.device)[None, :]
        if self.layout.left:
            offsets = offsets - (width - counts)
        inside = (offsets >= 0) & (offsets < counts)
        places = torch.where(inside, starts + offsets, 0)
        return {
            name: torch.where(inside, column[places].long(), self.layout.padding[name])
            for name, column in self.columns.items()
        }

    def _flat(self, rows: NDArray[np.int64]) -> Features:
        """As `transformers.DataCollatorWithFlattening` gives it."""
        counts = self.counts[rows]
        ends = np.cumsum(counts)
        text = np.repeat(np.arange(len(rows)), counts)
        positions, ids = self._end_to_end(rows)
        bounds = self._send(np.concatenate([[0], ends]).astype(np.int32))
        longest = int(counts.max(initial=0))
        return {
            "input_ids": ids[None],
            "position_ids": self._send(positions + self.layout.first_position)[None],
            "seq_idx": self._send(text.astype(np.int32))[None],
            **{"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": longest, "max_length_k": longest},
        }

    def _bags(self, rows: NDArray[np.int64]) -> Features:
        """As `torch.nn.EmbeddingBag` takes it."""
        counts = self.counts[rows]
        return {"input_ids": self._end_to_end(rows)[1], "offsets": self._send(np.cumsum(counts) - counts)}

    def _end_to_end(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Tensor]:
        """Places within their texts, and ids, of the tokens of some texts, one text after the other."""
        counts = self.counts[rows]
        positions = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return positions, self.columns["input_ids"][self._send(np.repeat(self.starts[rows], counts) + positions)].long()

    def _send(self, array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor


def can_tokenise(model: "SentenceTransformer", task: str | None = None) -> bool:
    """Whether `tokenise` serves a model's texts of this task: a text Transformer that a fast tokenizer feeds and that
    does nothing special about padding reads them, or a static embedding. All others are for sentence-transformers' own
    `encode`."""
    from sentence_transformers.base.modules import Transformer

    first: Any = reader(model, task)
    if _is_static(first):
        return True
    if type(first) is not Transformer or first.transformer_task != "feature-extraction":
        return False
    tokenizer: Any = first.tokenizer
    plain = first.query_expansion is None and not first.processing_kwargs and set(first.modality_config) == {"text"}
    fast = first.processor is tokenizer and tokenizer.is_fast and tokenizer.pad_token_id is not None
    return bool(plain and fast)


def reader(model: "SentenceTransformer", task: str | None) -> Any:
    """The module that texts of a task come to first: of a Router that knows tasks alone, the first of the route."""
    from sentence_transformers.base.modules import Router

    first: Any = model[0]
    if not isinstance(first, Router) or first.route_mappings:
        return first
    routes: Any = first.sub_modules
    route = next((name for name in (task, "text", first.default_route) if name in routes), None)
    return first if route is None or (task is not None and route != task) else routes[route][0]


def _is_static(module: Any) -> bool:
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    return type(module) is StaticEmbedding


def tokenise(model: "SentenceTransformer", texts: Sequence[str], identity: VectorIdentity) -> Tokens:
    """The tokens of `texts`, prompt included, for a model that `can_tokenise`."""
    found = model.preprocess(list(texts), prompt=identity.prompt, task=identity.route, processing_kwargs=_UNPADDED)
    if "cu_seq_lens_q" in found:  # flattened already
        return Tokens(
            {"input_ids": np.asarray(found["input_ids"][0], dtype=np.int32)},
            np.asarray(found["cu_seq_lens_q"].diff(), dtype=np.int64),
            {name: found[name] for name in (*_ROUTED, "prompt_length") if name in found},
        )
    if "offsets" in found:
        ids = np.asarray(found["input_ids"], dtype=np.int32)
        starts = np.asarray(found["offsets"], dtype=np.int64)
        counts = np.append(starts[1:], len(ids)) - starts
        return Tokens({"input_ids": ids}, counts, {name: found[name] for name in _ROUTED if name in found})
    lists = {name: values for name, values in found.items() if isinstance(values, list)}
    return Tokens(
        {name: np.concatenate([np.asarray(row, dtype=np.int32) for row in rows]) for name, rows in lists.items()},
        np.array([len(row) for row in lists["input_ids"]], dtype=np.int64),
        {name: value for name, value in found.items() if name not in lists},
    )
