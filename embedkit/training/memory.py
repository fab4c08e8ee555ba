"""Documents of earlier batches, as further negatives of this one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.func import functional_call

from embedkit.core.errors import ModelError, StageError
from embedkit.core.estimate import Size
from embedkit.core.spec import Spec
from embedkit.losses import Batch, Guide, Loss
from embedkit.training.distributed import computing, in_shards

Encode = Callable[[dict[str, Any]], Mapping[str, Tensor]]  # features -> "sentence_embedding" and more
EMPTY: Final = -1  # the id in a slot of a queue that holds no document


class CrossBatch(Spec):
    """The document vectors of earlier batches, as the model made them then: cross-batch memory.

    They get no gradient. A model drifts slowly, if its learning rate is not high: so vectors of some steps ago are
    still good negatives. From step `start` on (counted from 0) they are kept and used, as a model drifts fast at first.
    Reference: https://arxiv.org/abs/1912.06798.
    """

    kind: Literal["cross_batch"] = "cross_batch"
    size: PositiveInt = 8192  # documents
    start: NonNegativeInt = 0

    def bytes(self, model: Size) -> int:
        """Memory it takes: the queue, the batch with it, and the gradient of that."""
        return 3 * 4 * self.size * model.dimensions


class Momentum(Spec):
    """All documents encoded by a slow copy of the model, and those of earlier batches kept: MoCo, as in Contriever.

    The copy k is the average k ← m k + (1 − m) w of the weights w, m is `decay`; it is brought up to date before it
    encodes a batch's documents, its positives too. No gradient goes to documents: the model learns as encoder of the
    queries, and the copy follows. Meant for training without labels, on large batches. Unlike in Contriever, the other
    documents of the batch are negatives too, at once.
    Reference: https://arxiv.org/abs/2112.09118; https://arxiv.org/abs/1911.05722, eq. 2.
    """

    kind: Literal["momentum"] = "momentum"
    size: PositiveInt = 131_072  # documents
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9995

    def bytes(self, model: Size) -> int:
        """Memory it takes: as of `CrossBatch`, and the copy of the weights."""
        return 3 * 4 * self.size * model.dimensions + 4 * model.parameters


AnyMemory = Annotated[CrossBatch | Momentum, Field(discriminator="kind")]


def check_memory(losses: Sequence[Loss]) -> None:
    """A `ValueError` where none of these losses can use a memory; one that cannot does without, beside one that can."""
    if not any(loss.contrasts for loss in losses):
        raise ValueError(
            f"loss {losses[0].kind} compares a query with its own documents alone, so a memory of other documents "
            "would change nothing; leave it out, or take a loss with in-batch negatives"
        )


def check_start(memory: CrossBatch | Momentum | None, steps: int) -> None:
    """A `StageError` where a training of so many steps ends before the memory is used."""
    if isinstance(memory, CrossBatch) and memory.start and memory.start + 1 >= steps:
        raise StageError(
            f"memory: start is {memory.start}, after which the first documents are kept, but there are {steps} steps; "
            "lower start, or leave the memory out"
        )


class Queue(nn.Module):
    """The last `size` documents that were pushed, each once, in a ring: any number can be pushed at a time.

    What is kept of a document are columns by name, (n, ...) each; every push must bring the same.
    """

    ids: Tensor  # (size,) int64, `EMPTY` where there is none
    place: Tensor  # () int64: the slot that is written next

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("ids", torch.full((size,), EMPTY))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    def push(self, ids: Tensor, columns: Mapping[str, Tensor]) -> None:
        """Keep these documents (n,), whose ids are all different. Of one that is there already, the new one is kept.

        Their order does not matter, as it is another where a batch is divided among processes.
        """
        size = len(self.ids)
        ids, order = ids.sort()
        ids, order = ids[-size:], order[-size:]
        self.ids[torch.isin(self.ids, ids)] = EMPTY
        slots = (self.place + torch.arange(len(ids), device=ids.device)) % size
        self.ids[slots] = ids
        for name, values in columns.items():
            if name not in self._buffers:
                self.register_buffer(name, values.new_zeros(size, *values.shape[1:]))
            self.get_buffer(name)[slots] = values[order]
        self.place.copy_((self.place + len(ids)) % size)

    def others(self, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(n,) ids and (n, ...) columns of what is kept, without the documents `ids`."""
        slots = ((self.ids != EMPTY) & ~torch.isin(self.ids, ids)).nonzero()[:, 0]
        kept = {name: column[slots] for name, column in self.named_buffers() if name not in ("ids", "place")}
        return self.ids[slots], kept

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        _make_buffers(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class SlowCopy(nn.Module):
    """The moving average of what learns of a model's weights, as buffers: no optimiser and no wrapper finds them.

    It begins at the first step, as adapters may come to a model until then.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Take a step towards the model's weights."""
        if in_shards(model):
            raise StageError("memory: momentum keeps a copy of whole weights, so it needs sharding: none")
        learning = {name: weight for name, weight in computing(model).named_parameters() if weight.requires_grad}
        if any(".sub_modules.document." in name for name in learning):
            raise ModelError(
                "memory: with momentum the encoder of queries alone learns, and this model has another for documents; "
                "train one for both, or take cross_batch"
            )
        weights = {_buffer(name): weight for name, weight in learning.items()}
        for name in [name for name in weights if name not in self._buffers]:
            self.register_buffer(name, weights[name].clone())
        torch._foreach_lerp_([self.get_buffer(name) for name in weights], list(weights.values()), 1 - self.decay)

    def of(self, model: nn.Module) -> Encode:
        """The model as it is called, with these weights."""
        weights = {name.replace("/", "."): average for name, average in self.named_buffers()}
        return lambda features: functional_call(computing(model), weights, (features,))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        _make_buffers(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Memory(nn.Module):
    """What an objective remembers of documents: a queue for each source, as only these documents have its numbers.

    All processes hold the same, since a batch is gathered before it enters. A batch enters when the next one begins, or
    the state is saved: one that ran out of memory and is tried again, which its `step` tells, enters once.
    """

    seen: Tensor  # () int64: batches that have begun

    def __init__(self, spec: CrossBatch | Momentum, losses: Sequence[Loss]) -> None:
        super().__init__()
        self.used = [loss.contrasts for loss in losses]
        self.start = spec.start if isinstance(spec, CrossBatch) else 0
        self.queues = nn.ModuleList(Queue(spec.size) for _ in losses)
        self.slow = SlowCopy(spec.decay) if isinstance(spec, Momentum) else None
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self._step: int | None = None
        self._enter: Callable[[], None] | None = None  # what brings the last batch into its queue
        self.register_state_dict_pre_hook(lambda *_: self._settle())  # type: ignore[no-untyped-call]

    def begin(self, model: nn.Module, step: int | None) -> None:
        """A batch of training begins; `step` is a number no other one has, None if there is none."""
        if step is not None and step == self._step:
            self._enter = None
            return
        self._settle()
        self._step = step
        self.seen += 1
        if self.slow is not None:
            self.slow.follow(model)

    def encoder(self, model: nn.Module, source: int) -> Encode | None:
        """What encodes the documents of a batch of this source, without gradient; None for the model itself."""
        return self.slow.of(model) if self.slow is not None and self.used[source] else None

    def extended(self, batch: Batch, source: int) -> Batch:
        """The batch with the documents of earlier ones as further columns, whom it will join."""
        if not self.used[source] or self.seen <= self.start:
            return batch
        queue = self.queues[source]
        if not isinstance(queue, Queue):
            raise TypeError(type(queue))
        columns = _columns(batch)
        kept = {name: column.detach().clone() for name, column in columns.items()}
        self._enter = lambda: queue.push(batch.doc_ids, kept)
        ids, others = queue.others(batch.doc_ids)
        if not len(ids):
            return batch
        more = {name: torch.cat([column, others[name]]) for name, column in columns.items()}
        guide = Guide(batch.guide.queries, more["guide"]) if batch.guide is not None else None
        return replace(
            batch,
            documents=more["documents"],
            doc_ids=torch.cat([batch.doc_ids, ids]),
            doc_classes=more.get("classes"),
            guide=guide,
        )

    @torch.no_grad()
    def _settle(self) -> None:
        if self._enter is not None:
            self._enter()
            self._enter = None


def _columns(batch: Batch) -> dict[str, Tensor]:
    """What there is to remember of a batch's documents."""
    columns = {
        "documents": batch.documents,
        "classes": batch.doc_classes,
        "guide": batch.guide and batch.guide.documents,
    }
    return {name: column for name, column in columns.items() if column is not None}


def _make_buffers(module: nn.Module, state_dict: Mapping[str, Tensor], prefix: str) -> None:
    """Those that a saved state has and a new module has not yet."""
    for name in [name.removeprefix(prefix) for name in state_dict if name.startswith(prefix)]:
        if name not in module._buffers:
            module.register_buffer(name, torch.empty_like(state_dict[prefix + name]))


def _buffer(name: str) -> str:
    return name.replace(".", "/")  # a buffer's name has no dots
