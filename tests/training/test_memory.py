from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import normalize

from embedkit.core.errors import ModelError, StageError
from embedkit.core.store import digests
from embedkit.losses import Batch, Guide, Guided, InfoNCE, MannWhitney, MarginMSE, Matryoshka
from embedkit.training.assembly import assemble
from embedkit.training.memory import CrossBatch, Momentum, Queue, check_start
from embedkit.training.objective import Objective
from embedkit.training.sources import Source
from embedkit.training.stage import Train
from embedkit.training.task import own_state
from tests.oracles.infonce import infonce_by_hand
from tests.training import ranks
from tests.training.members import every_loss
from tests.training.ranks import MEMORIES, STEPS, Bag, next_inputs, remembered
from tests.training.runs import TRAIN, run

LOSSES = {name: loss for name, loss in every_loss().items() if loss.contrasts}


def log_of(documents: list[tuple[list[int], int]], size: int) -> list[tuple[int, int]]:
    """(id, push) of what a queue keeps after these pushes: of the last `size` entries, the newest of each id."""
    written = [(name, number) for ids, number in documents for name in sorted(ids)[-size:]][-size:]
    return [entry for i, entry in enumerate(written) if all(entry[0] != later for later, _ in written[i + 1 :])]


@pytest.mark.parametrize("size", [1, 3, 7, 10, 64])
def test_a_queue_keeps_the_last_documents_each_once_whatever_the_batches(size):
    generator = torch.Generator().manual_seed(size)
    queue, pushes = Queue(size), []
    for number in range(40):
        ids = torch.randperm(12, generator=generator)[: int(torch.randint(1, 12, (), generator=generator))]
        rows = torch.full((len(ids), 2), float(number))
        queue.push(ids, {"documents": rows, "classes": ids + 100})
        pushes.append((ids.tolist(), number))
        found, columns = queue.others(torch.tensor([5, 6]))
        expected = [(name, push) for name, push in log_of(pushes, size) if name not in (5, 6)]
        assert sorted(zip(found.tolist(), columns["documents"][:, 0].tolist(), strict=True)) == sorted(expected)
        assert columns["classes"].tolist() == (found + 100).tolist()


class Slow:
    """The objective in plain loops: all earlier batches are kept, and nothing is in a ring."""

    def __init__(self, memory, loss=None) -> None:
        self.memory, self.loss = memory, loss or InfoNCE(temperature=0.3)
        self.model, self.keys = Bag(), Bag()
        self.pushed: list[tuple[dict[int, int], Batch]] = []

    def batch(self, queries: list[int], *, extended: bool = True) -> Batch:
        columns, structure = next_inputs(queries)
        encoders = self.model, self.model
        if isinstance(self.memory, Momentum):
            for key, weight in zip(self.keys.parameters(), self.model.parameters(), strict=True):
                key.data = key.data * self.memory.decay + weight.data * (1 - self.memory.decay)
            encoders = self.model, self.keys
        rows = [
            normalize(encoder(column)["sentence_embedding"], dim=1)
            for encoder, column in zip(encoders, columns, strict=True)
        ]
        if isinstance(self.memory, Momentum):
            rows[1] = rows[1].detach()
        batch = assemble(*rows, structure)
        result = self.extended(batch) if extended else batch
        self.pushed.append(({int(d): i for i, d in enumerate(batch.doc_ids)}, batch))
        return result

    def extended(self, batch: Batch) -> Batch:
        """Documents of earlier batches one by one, newest version only, none that is in the batch."""
        places = [(list(at), number) for number, (at, _) in enumerate(self.pushed)]
        mine = set(batch.doc_ids.tolist())
        extra = [
            (d, self.pushed[n][1], self.pushed[n][0][d]) for d, n in log_of(places, self.memory.size) if d not in mine
        ]
        if not extra:
            return batch
        return replace(
            batch,
            documents=torch.cat([batch.documents, *(b.documents[[i]].detach() for _, b, i in extra)]),
            doc_ids=torch.tensor([*batch.doc_ids.tolist(), *(d for d, _, _ in extra)]),
            doc_classes=torch.cat([batch.doc_classes, *(b.doc_classes[[i]] for _, b, i in extra)]),
            guide=Guide(
                batch.guide.queries, torch.cat([batch.guide.documents, *(b.guide.documents[[i]] for _, b, i in extra)])
            ),
        )


@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: f"{memory.kind} {memory.size}")
def test_several_steps_equal_plain_loops(memory):
    slow, expected = Slow(memory), []
    for queries in STEPS:
        batch = slow.batch(queries)
        value = slow.loss(batch)
        structure = next_inputs(queries)[1]
        documents = {int(d): i for i, d in enumerate(batch.doc_ids)}
        out = {
            (i, documents[d]) for name in ("known", "suspects") for i, d in structure[name].tolist() if d in documents
        }
        lists = [[documents[d] for d in row] for q in queries for row in ranks.ROWS[q]]
        by_hand = infonce_by_hand(batch.queries.tolist(), batch.documents.tolist(), lists[::2], lists[1::2], out, 0.3)
        assert value.item() == pytest.approx(by_hand, rel=1e-9)
        slow.model.zero_grad()
        value.backward()
        expected += [value.detach(), *(p.grad.clone() for p in slow.model.parameters())]
        with torch.no_grad():
            for parameter in slow.model.parameters():
                parameter -= 0.5 * parameter.grad
    torch.testing.assert_close(remembered(memory), expected)


def test_the_memory_matters():
    with_memory, without = remembered(MEMORIES[0]), remembered(None)
    assert with_memory[0] == without[0]
    assert with_memory[3] > without[3] + 0.01


@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: f"{memory.kind} {memory.size}")
@pytest.mark.parametrize(
    "options", [{"tile": 1}, {"tile": 2}, {"chunk_size": 2}, {"chunk_size": 1, "tile": 1}], ids=str
)
def test_tiles_and_chunks_equal_the_whole(memory, options):
    torch.testing.assert_close(remembered(memory, **options), remembered(memory))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_with_in_batch_negatives_sees_the_documents_as_any_others(name):
    memory, loss = CrossBatch(size=6), LOSSES[name]
    slow, objective = Slow(memory), Objective(Bag(), loss, memory=memory)
    slow.batch(STEPS[0])
    objective(*next_inputs(STEPS[0]))
    batch = slow.batch(STEPS[1])
    level = None
    for _, earlier in slow.pushed if "level" in loss.needs else []:
        level = loss.next_level(level, earlier)
    assert len(batch.documents) > len(slow.pushed[1][1].documents)
    torch.testing.assert_close(objective(*next_inputs(STEPS[1])), loss(batch.changed(level=level)))


def test_the_slow_copy_follows_before_it_encodes():
    """Key 1, query 0, decay 0.9995."""
    objective = Objective(Bag(), InfoNCE(), memory=Momentum(size=4))
    table = objective.model.table
    table.data.fill_(1.0)
    objective(*next_inputs([0]))
    table.data.zero_()
    objective.memory.begin(objective.model, None)
    assert objective.memory.slow.get_buffer("table").unique().item() == pytest.approx(0.9995)


def test_documents_get_no_gradient_from_a_slow_copy():
    objective = Objective(Bag(), InfoNCE(), memory=Momentum(size=4))
    objective(*next_inputs([0, 1])).backward()
    moved = objective.model.table.grad.abs().sum(1) > 0
    assert moved.nonzero()[:, 0].tolist() == [10, 11]  # the queries' texts


@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: f"{memory.kind} {memory.size}")
def test_a_saved_state_goes_on_as_if_nothing_had_been(memory):
    whole = Objective(Bag(), InfoNCE(), memory=memory)
    values = []
    for number, queries in enumerate(STEPS):
        if number == 2:
            state = {name: tensor.clone() for name, tensor in own_state(whole).items()}
            assert any("queues" in name for name in state)
        columns, structure = next_inputs(queries)
        structure["seed"] = torch.tensor(number)
        values.append(whole(columns, structure).item())
        with torch.no_grad():
            whole.model.table *= 0.9 + 0.1 * torch.arange(20)[:, None] / 20
            if number == 1:
                weights = {name: tensor.clone() for name, tensor in whole.model.state_dict().items()}
    again = Objective(Bag(), InfoNCE(), memory=memory)
    again.model.load_state_dict(weights)
    again.load_state_dict(state, strict=False)
    for number in (2, 3):
        columns, structure = next_inputs(STEPS[number])
        structure["seed"] = torch.tensor(number)
        assert again(columns, structure).item() == values[number]
        with torch.no_grad():
            again.model.table *= 0.9 + 0.1 * torch.arange(20)[:, None] / 20


@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: f"{memory.kind} {memory.size}")
def test_a_step_that_is_tried_again_counts_once(memory):
    values = []
    for tries in (1, 3):
        objective = Objective(Bag(), InfoNCE(), memory=memory)
        for number, queries in enumerate(STEPS):
            columns, structure = next_inputs(queries)
            structure["seed"] = torch.tensor(number)
            for _ in range(tries):
                value = objective(columns, structure)
            values.append(value.item())
            objective.model.table.data *= 0.9
    assert values[: len(STEPS)] == values[len(STEPS) :]


def test_a_memory_starts_late():
    early, late = (Objective(Bag(), InfoNCE(), memory=CrossBatch(size=9, start=start)) for start in (0, 2))
    plain = Objective(Bag(), InfoNCE())
    found = [[objective(*next_inputs(queries)).item() for queries in STEPS] for objective in (early, late, plain)]
    assert found[1][:3] == found[2][:3]  # the third batch is the first to enter
    assert found[0][1] != found[2][1]
    assert found[1][3] != found[2][3]


def test_every_source_has_a_queue_of_its_own():
    """Documents of two sources may have one number, and are others."""
    objective = Objective(Bag(), [InfoNCE(), InfoNCE(), MarginMSE()], memory=CrossBatch(size=9))
    plain = Objective(Bag(), [InfoNCE(), InfoNCE(), MarginMSE()])
    for source, same in ((0, True), (1, True), (2, True), (2, True), (1, False), (0, False)):
        columns, structure = next_inputs(STEPS[0] if same else STEPS[1])
        structure["source"] = torch.tensor(source)
        assert (objective(columns, structure) == plain(columns, structure)) == same


def test_it_is_for_training_alone():
    objective, plain = Objective(Bag(), InfoNCE(), memory=Momentum(size=9, decay=0.5)), Objective(Bag(), InfoNCE())
    objective(*next_inputs(STEPS[0]))
    objective.model.table.data *= torch.linspace(0.5, 2, 20)[:, None]
    plain.model.load_state_dict(objective.model.state_dict())
    before = {name: tensor.clone() for name, tensor in own_state(objective).items()}
    objective.eval()
    assert objective(*next_inputs(STEPS[1])) == plain(*next_inputs(STEPS[1]))
    assert all(torch.equal(tensor, before[name]) for name, tensor in own_state(objective).items())


def test_a_loss_without_in_batch_negatives_is_refused():
    stage = {"model": "m", "pairs": "p", "memory": {"kind": "cross_batch"}}
    with pytest.raises(ValidationError, match="loss margin_mse compares a query with its own documents alone"):
        Train(**stage, loss=MarginMSE())
    assert Train(**stage, loss=Matryoshka(loss=Guided(loss=MannWhitney())), guide="g").memory == CrossBatch()
    assert Train(**stage, loss=MarginMSE(), sources=(Source(pairs="q"),)).memory == CrossBatch()


@pytest.mark.parametrize("memory", [CrossBatch(size=20, start=1), Momentum(size=50, decay=0.9)], ids=lambda m: m.kind)
def test_an_interrupted_training_ends_as_one_that_was_not(memory, tiny_model, tiny_dataset, tmp_path):
    class Interrupted(Exception):
        pass

    def stop(name, facts):
        if name == "step" and facts["step"] == 4:
            raise Interrupted

    stage = TRAIN.model_copy(update={"memory": memory, "steps": 6, "loss": Matryoshka(dims=(32, 8))})
    whole = digests(run(stage, tiny_model, tiny_dataset.path, tmp_path / "whole"))
    with pytest.raises(Interrupted):
        run(stage, tiny_model, tiny_dataset.path, tmp_path / "halves", stop)
    (tmp_path / "halves" / "out").rmdir()
    assert digests(run(stage, tiny_model, tiny_dataset.path, tmp_path / "halves")) == whole
    plain = stage.model_copy(update={"memory": None})
    assert digests(run(plain, tiny_model, tiny_dataset.path, tmp_path / "plain"))["stats.json"] != whole["stats.json"]


def test_a_memory_that_is_never_used_is_refused(tiny_model, tiny_dataset, tmp_path):
    stage = TRAIN.model_copy(update={"memory": CrossBatch(size=9, start=13), "steps": 14})
    with pytest.raises(StageError, match=r"memory: start is 13, .* but there are 14 steps"):
        run(stage, tiny_model, tiny_dataset.path, tmp_path)
    check_start(CrossBatch(size=9, start=12), 14)


def test_a_slow_copy_is_for_a_model_of_one_encoder():
    class Towers(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.sub_modules = torch.nn.ModuleDict({"query": Bag(), "document": Bag()})

    router = torch.nn.Sequential(Towers())
    objective = Objective(router, InfoNCE(), memory=Momentum(size=4))
    with pytest.raises(ModelError, match="this model has another for documents"):
        objective(*next_inputs([0, 1]))
    router[0].sub_modules["document"].requires_grad_(False)
    objective.memory.begin(router, None)
