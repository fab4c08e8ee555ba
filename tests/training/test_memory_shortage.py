"""Steps that run out of memory. What runs out here is injected: a forward or backward pass of more texts than fit."""

import json
import logging

import pytest
import torch
from torch import nn

from embedkit.core.errors import StageError
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.losses import InfoNCE
from embedkit.training import trainer
from embedkit.training.memory import CrossBatch
from embedkit.training.memory_shortage import PLACE, Shortage, is_shortage
from embedkit.training.objective import Objective
from embedkit.training.peers.ranking import CachedMultipleNegativesRankingLoss
from tests.training.members import Bar
from tests.training.ranks import Bag, inputs
from tests.training.runs import TRAIN, TRAIN_ST, run, scored_pairs


@pytest.fixture(scope="module")
def pairs(tiny_dataset, tmp_path_factory):
    return scored_pairs(tiny_dataset.path, tmp_path_factory.mktemp("pairs"))


class Small(torch.autograd.Function):
    """Passes rows through, but has memory for some of them only when gradients come back."""

    @staticmethod
    def forward(ctx, rows, most):
        ctx.most = most
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx, grad):
        if len(grad) > ctx.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return grad, None


def full(module: nn.Module, most: int, *, backward: bool = False, from_call: int = 0) -> None:
    """Let the module have memory for so many texts, from its n-th call on."""
    calls = 0

    def after(module, inputs, output):
        nonlocal calls
        calls += 1
        rows = output["sentence_embedding"]
        if not module.training or calls <= from_call:
            return
        if backward:
            output["sentence_embedding"] = Small.apply(rows, most)
        elif len(rows) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    module.register_forward_hook(after)


def opened(monkeypatch, most: int, **how) -> None:
    """Let models that are opened for training have memory for so many texts."""
    original = trainer.open_model

    def open_model(folder, spec):
        model = original(folder, spec)
        full(model, most, **how)
        return model

    monkeypatch.setattr(trainer, "open_model", open_model)


def step(objective: Objective, shortage: Shortage | None) -> list[torch.Tensor]:
    """Loss and gradients of one batch."""
    torch.manual_seed(0)
    batch = inputs([0, 1, 2, 3, 4])

    def once():
        value = objective(*batch)
        value.backward()
        return value.detach()

    value = once() if shortage is None else shortage.repeated(once, 1)
    return [value, *(parameter.grad for parameter in objective.model.parameters())]


@pytest.mark.parametrize("backward", [False, True], ids=["in the forward pass", "in the backward pass"])
@pytest.mark.parametrize("chunk_size", [None, 8])
def test_a_repeated_step_is_one_that_fitted(backward, chunk_size, tmp_path):
    events = []
    tight = Objective(Bag(dropout=0.5), Bar(), chunk_size=chunk_size)
    full(tight.model, 2, backward=backward)
    shortage = Shortage(tight, tmp_path, lambda name, facts: events.append((name, facts["texts"])))
    found = step(tight, shortage)
    roomy = Objective(Bag(dropout=0.5), Bar(), chunk_size=tight.chunking.size)
    assert tight.chunking.size <= 2
    assert [name for name, _ in events] == ["memory_short"] * len(events)
    sizes = [texts for _, texts in events]
    assert sizes == sorted(sizes, reverse=True)
    (kept,) = json.loads((tmp_path / PLACE).read_text())
    assert sizes[-1] == tight.chunking.size == kept["texts"]
    for one, other in zip(found, step(roomy, None), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(tight.levels, roomy.levels)
    assert recalled(Objective(Bag(), Bar(), chunk_size=chunk_size), tmp_path, 1) == tight.chunking.size
    assert recalled(Objective(Bag(), Bar(), chunk_size=1), tmp_path, 1) == 1


def recalled(objective: Objective, work, number: int) -> int | None:
    """Texts in a pass of a step that is taken after `work` was left by another run."""
    Shortage(objective, work, lambda *_: None).repeated(lambda: torch.zeros(()), number)
    return objective.chunking.size


def test_passes_are_smaller_from_the_step_on_that_needed_it(tmp_path):
    """So that a run that goes on before it computes what the first one did."""
    objective = Objective(Bag(), InfoNCE(), chunk_size=8)
    full(objective.model, 4)
    shortage = Shortage(objective, tmp_path, lambda *_: None)
    for number, most in ((5, 4), (9, 1)):
        full(objective.model, most)
        shortage.repeated(lambda: objective(*inputs([0, 1, 2, 3, 4])).detach(), number)
    sizes = [recalled(Objective(Bag(), InfoNCE(), chunk_size=8), tmp_path, number) for number in (4, 5, 8, 9)]
    smaller, smallest = (found["texts"] for found in json.loads((tmp_path / PLACE).read_text()))
    assert sizes == [8, smaller, smaller, smallest]
    assert 8 > smaller > smallest
    assert shortage.facts()["warnings"] == [
        f"memory was too little at step 5; from then on {smaller} texts were in a pass",
        f"memory was too little at step 9; from then on {smallest} texts were in a pass",
    ]


def test_one_text_too_many(tmp_path):
    objective = Objective(Bag(), InfoNCE())
    full(objective.model, 0)
    message = r"step 1 needs more memory than there is, with one text in a pass \(CUDA out of memory.*lower batch_size"
    with pytest.raises(StageError, match=message):
        step(objective, Shortage(objective, tmp_path, lambda *_: None))


def test_one_of_several_processes_stops_and_remembers(tmp_path, monkeypatch):
    monkeypatch.setattr("embedkit.training.memory_shortage.world_size", lambda: 2)
    objective = Objective(Bag(), InfoNCE(), chunk_size=6)
    full(objective.model, 2)
    message = r"than process 0 has .*Run the same command again: .* last checkpoint with 2 texts in a pass instead$"
    with pytest.raises(StageError, match=message):
        step(objective, Shortage(objective, tmp_path, lambda *_: None))
    assert recalled(Objective(Bag(), InfoNCE(), chunk_size=6), tmp_path, 1) == 2


def test_other_errors_are_not_memory(tmp_path):
    for error in (
        torch.OutOfMemoryError("x"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: y"),
    ):
        assert is_shortage(error)
    assert is_shortage(
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried")
    )
    assert not is_shortage(RuntimeError("shapes do not match"))

    def broken():
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        Shortage(Objective(Bag(), InfoNCE()), tmp_path, lambda *_: None).repeated(broken, 1)


@pytest.mark.parametrize("memory", [None, CrossBatch(size=64)], ids=["", "with a memory"])
def test_a_training_goes_on_in_smaller_passes(memory, tiny_model, pairs, tmp_path, monkeypatch, caplog):
    stage = TRAIN.model_copy(update={"memory": memory, "chunk_tokens": None})
    expected = run(stage.model_copy(update={"chunk_size": 8}), tiny_model, pairs, tmp_path / "roomy")
    opened(monkeypatch, 12)
    events = []
    with caplog.at_level(logging.WARNING):
        tight = stage.model_copy(update={"chunk_size": 16})
        out = run(tight, tiny_model, pairs, tmp_path / "tight", lambda name, facts: events.append((name, facts)))
    assert [facts["texts"] for name, facts in events if name == "memory_short"] == [8]
    assert [facts["step"] for name, facts in events if name == "step"] == [*range(1, 15)]
    assert digests(out)["model.safetensors"] == digests(expected)["model.safetensors"]
    stats = read_stats(out)
    assert stats["history"] == read_stats(expected)["history"]
    assert stats["memory"] == {"step": 1, "texts": 8, "tokens": None}
    assert "memory was too little at step 1; from then on 8 texts were in a pass" in stats["warnings"]
    assert "set chunk_size: 8 to begin so" in caplog.text


def test_a_resumed_training_begins_with_smaller_passes(tiny_model, pairs, tmp_path, monkeypatch):
    opened(monkeypatch, 12, backward=True)
    events = []

    def emit(name, facts):
        events.append(name)
        if name == "checkpoint_saved" and events.count("checkpoint_saved") == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(TRAIN, tiny_model, pairs, tmp_path, emit)
    assert "memory_short" in events
    (tmp_path / "out").rmdir()
    events.append("again")
    out = run(TRAIN, tiny_model, pairs, tmp_path, emit)
    assert "memory_short" not in events[events.index("again") :]
    assert read_stats(out)["memory"]["step"] == 1


def test_losses_of_sentence_transformers(tiny_model, pairs, tmp_path, monkeypatch):
    opened(monkeypatch, 12)
    cached = TRAIN_ST.model_copy(update={"loss": CachedMultipleNegativesRankingLoss(mini_batch_size=16), "steps": 2})
    out = run(cached, tiny_model, pairs, tmp_path / "cached")
    assert read_stats(out)["memory"]["texts"] == 8
    by_tokens = CachedMultipleNegativesRankingLoss(mini_batch_size=16, mini_batch_num_tokens=160)
    by_tokens = TRAIN_ST.model_copy(update={"loss": by_tokens, "steps": 2})
    found = read_stats(run(by_tokens, tiny_model, pairs, tmp_path / "tokens"))["memory"]
    assert found["tokens"] == 160 * found["texts"] // 16 < 160
    with pytest.raises(StageError, match="step 1 needs more memory than there is, and its loss has no passes"):
        run(TRAIN_ST, tiny_model, pairs, tmp_path / "plain")


def test_an_optimiser_that_has_too_little_memory_is_told(tiny_model, pairs, tmp_path, monkeypatch):
    def short(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(torch.optim.AdamW, "step", short)
    with pytest.raises(StageError, match=r"^training: the optimiser, or an evaluation, needs more memory .*2\.00 GiB"):
        run(TRAIN, tiny_model, pairs, tmp_path)
