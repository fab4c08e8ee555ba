import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from embedkit.core.errors import DataError
from embedkit.losses import Batch, InfoNCE, Loss, Ragged
from embedkit.training import objective as module
from embedkit.training.assembly import Structure, assemble
from embedkit.training.objective import Objective, tile_rows
from tests.training import exchanges, ranks
from tests.training.members import DIRECTIONS, MEMBERS, WRAPPERS, Bar, every_loss

ROOT = Path(__file__).parents[2]
LOSSES = every_loss()
QUERIES = list(ranks.ROWS)
every = pytest.mark.parametrize("name", LOSSES)


class Constant(Loss):
    """Forgets its batch."""

    kind: str = "constant"

    def compute(self, batch: Batch) -> torch.Tensor:
        return torch.zeros(())


def structure() -> Structure:
    wanted, unwanted = Ragged.of([[0], [1], [2], [3]]), Ragged.of([[4], [5], [6], [0]])
    return Structure(
        query_ids=torch.arange(4),
        doc_ids=torch.arange(7),
        positive_offsets=wanted.offsets,
        positive_columns=wanted.values,
        negative_offsets=unwanted.offsets,
        negative_columns=unwanted.values,
        known=torch.tensor([(i, i) for i in range(4)]),
    )


@pytest.fixture
def model(tiny_model):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(tiny_model), device="cpu").double()


def gradients(model, *, chunk_size: int | None) -> list[torch.Tensor]:
    texts = (
        ["list file", "copy a disk", "merge", "sort page table"],
        ["print user group", *"list copy move a b c".split()],
    )
    columns = [dict(model.preprocess(part)) for part in texts]
    model.zero_grad()
    torch.manual_seed(0)
    Objective(model, InfoNCE(), chunk_size=chunk_size)(columns, structure()).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("chunk_size", [1, 3, 100])
def test_chunks_of_a_transformer_equal_the_whole(model, chunk_size):
    model.eval()  # dropout off: its masks fall on other rows where chunks are other
    whole = gradients(model, chunk_size=None)
    assert any(g.abs().sum() > 0 for g in whole)
    torch.testing.assert_close(gradients(model, chunk_size=chunk_size), whole)


def test_a_chunk_of_a_transformer_that_is_run_again_has_the_same_dropout(model, monkeypatch):
    model.train()
    again = gradients(model, chunk_size=3)
    monkeypatch.setattr(module, "checkpoint", lambda function, chunk, use_reentrant: function(chunk))
    torch.testing.assert_close(gradients(model, chunk_size=3), again)
    model.eval()
    assert not torch.allclose(gradients(model, chunk_size=3)[0], again[0])  # dropout was on


def test_there_are_losses_to_test():
    assert len(LOSSES) >= len(MEMBERS) + len(MEMBERS) * len(WRAPPERS) / 2 + 2


@every
def test_chunked_equals_whole_with_dropout(name, monkeypatch):
    loss = LOSSES[name]
    whole = ranks.value_and_gradients(loss, QUERIES, dropout=0.5)
    assert all(gradient.abs().sum() > 0 for gradient in whole[1:])
    chunked = ranks.value_and_gradients(loss, QUERIES, dropout=0.5, chunk_size=2)
    torch.testing.assert_close(ranks.value_and_gradients(loss, QUERIES, dropout=0.5, chunk_size=100), whole)
    monkeypatch.setattr(module, "checkpoint", lambda function, chunk, use_reentrant: function(chunk))
    torch.testing.assert_close(ranks.value_and_gradients(loss, QUERIES, dropout=0.5, chunk_size=2), chunked)


@every
@pytest.mark.parametrize("tile", [1, 2])
def test_tiled_equals_whole(name, tile):
    whole = ranks.value_and_gradients(LOSSES[name], QUERIES)
    torch.testing.assert_close(ranks.value_and_gradients(LOSSES[name], QUERIES, tile=tile), whole)


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> dict[str, list[torch.Tensor]]:
    """Value and gradients of every loss, by two processes with three and two of the queries."""
    folder = tmp_path_factory.mktemp("ranks")
    logs = [(folder / f"{rank}.log") for rank in range(2)]
    workers = []
    for rank, log in enumerate(logs):
        command = [sys.executable, "-m", "tests.training.ranks", str(rank), str(folder)]
        with log.open("w") as file:
            workers.append(subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=file))
    try:
        codes = [worker.wait(timeout=240) for worker in workers]
    except subprocess.TimeoutExpired:
        codes = []
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    if codes != [0, 0]:
        pytest.fail("two processes did not come to an end\n" + "\n".join(log.read_text() for log in logs))
    return torch.load(folder / "result.pt")


@pytest.mark.parametrize("model", exchanges.MODELS)
@pytest.mark.parametrize("size", range(len(exchanges.CHUNKS)))
def test_the_wrapper_of_the_trainer_averages_once_however_many_passes_there_are(model, size, together):
    """Also where a part of the model is done with its gradients before another is run again."""
    expected = exchanges.gradients(model(), QUERIES)
    for found, wanted in zip(together["wrapped"][model.__name__][size], expected, strict=True):
        assert (found is None) == (wanted is None)
        if wanted is not None:
            torch.testing.assert_close(found, wanted)


def test_gradients_come_back_to_their_rows_by_either_exchange(together):
    loss = InfoNCE(temperature=0.3, directions=DIRECTIONS)
    torch.testing.assert_close(together["scattered"], ranks.value_and_gradients(loss, QUERIES))


def test_what_processes_tell_each_other(together):
    vectors, embedded, array = together["renewed"]
    assert vectors == [float(number) for number in range(129)]
    assert embedded == [str(number) for number in range(64)]
    assert array == [0, 1, 2]
    assert together["told"] == ["process 0", [0], [[[0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]], 10]


def test_processes_that_differ_in_their_parts_are_told_so(together):
    assert together["problems"] == [
        "batch: process 1 has no targets, but others do; all need the same parts",
        "batch: seed differs between processes, found [0, 1]; it must be one number",
    ]


def test_two_processes_find_the_same_as_one(together):
    torch.testing.assert_close(together["retrieved"], ranks.retrieved())


def test_two_processes_remember_the_same_as_one(together):
    torch.testing.assert_close(together["remembered"], [ranks.remembered(memory) for memory in ranks.MEMORIES])


@every
def test_two_processes_equal_one(name, together):
    alone = ranks.value_and_gradients(LOSSES[name], QUERIES)
    assert all(gradient.abs().sum() > 0 for gradient in alone[1:])
    torch.testing.assert_close(together[name], alone)


def test_normalisation_is_a_choice():
    model, features = ranks.Bag(), {"input_ids": torch.tensor([[1], [2]])}
    rows = model(features)["sentence_embedding"]
    torch.testing.assert_close(Objective(model, InfoNCE(), normalize=False)._encode(features), rows)
    torch.testing.assert_close(Objective(model, InfoNCE())._encode(features).norm(dim=1), torch.ones(2).double())


def test_embeddings_are_float32_under_autocast(model):
    seen = []

    class Spy(InfoNCE):
        def compute(self, batch: Batch) -> torch.Tensor:
            seen.extend((batch.queries.dtype, batch.documents.dtype))
            return super().compute(batch)

    columns = [dict(model.preprocess(["list file"] * rows)) for rows in (4, 7)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        Objective(model.float(), Spy())(columns, structure()).backward()
    assert seen == [torch.float32] * 2


@pytest.mark.parametrize(
    ("queries", "documents", "rows"),
    [(64, 2048, None), (4096, 4096, None), (4096, 4097, 2016), (8192, 8192, 1024), (65536, 2**20, 32)],
)
def test_tiles_are_used_where_scores_are_many(queries, documents, rows):
    assert tile_rows(queries, documents) == rows


def test_the_tile_reaches_the_loss(monkeypatch):
    seen = []

    class Spy(Loss):
        kind: str = "spy"

        def compute(self, batch: Batch) -> torch.Tensor:
            seen.append(batch.tile)
            return batch.positive_scores().mean()

    ranks.value_and_gradients(Spy(), QUERIES, tile="auto")
    monkeypatch.setattr(module, "UNTILED", {"cpu": 32})
    ranks.value_and_gradients(Spy(), QUERIES, tile="auto")
    ranks.value_and_gradients(Spy(), QUERIES, tile=3)
    assert seen == [None, 32, 3]


def test_every_part_of_a_structure_reaches_the_loss():
    columns, parts = ranks.inputs([1, 4])
    batch = assemble(torch.rand(2, 6), torch.rand(len(columns[1]["input_ids"]), 6), parts, unit=False)
    assert batch.doc_ids.tolist() == [1, 2, 8, 4, 7, 9]
    assert batch.suspects.tolist() == [[0, 3], [1, 5], [1, 50]]
    assert batch.taught.rows.tolist() == [0, 0, 1, 1]
    assert batch.taught.doc_ids.tolist() == [8, 5, 60, 0]
    assert batch.taught.scores is not None
    assert batch.targets.lengths.tolist() == [3, 3]
    assert batch.query_classes.tolist() == [0, 0]
    assert batch.doc_classes.tolist() == [0, 1, -1, -1, 2, 0]
    assert (batch.guide.queries.shape, batch.guide.documents.shape) == ((2, 3), (6, 3))
    assert (batch.seed, batch.unit, batch.local) == (7, False, range(2))


def test_a_text_that_is_there_twice_is_one_document():
    parts = structure()
    parts["doc_ids"] = torch.tensor([5, 6, 7, 8, 9, 5, 3])
    documents = torch.arange(7.0)[:, None]
    batch = assemble(torch.rand(4, 1), documents, parts)
    assert batch.doc_ids.tolist() == [5, 6, 7, 8, 9, 3]
    assert batch.documents[:, 0].tolist() == [0, 1, 2, 3, 4, 6]
    assert batch.negatives.values.tolist() == [4, 0, 5, 0]


def test_the_source_chooses_the_loss():
    columns, parts = ranks.inputs(QUERIES)
    losses = [InfoNCE(temperature=0.1), InfoNCE(temperature=1.0)]
    for number, loss in enumerate(losses):
        parts["source"] = torch.tensor(number)
        expected = Objective(ranks.Bag(), loss)(columns, parts)
        torch.testing.assert_close(Objective(ranks.Bag(), losses)(columns, parts), expected)
    parts["source"] = torch.tensor(2)
    with pytest.raises(DataError, match="its source is 2, but there are 2 losses"):
        Objective(ranks.Bag(), losses)(columns, parts)
    del parts["source"]
    with pytest.raises(DataError, match="does not say its source"):
        Objective(ranks.Bag(), losses)(columns, parts)


def test_a_loss_that_forgets_its_batch_is_told():
    with pytest.raises(DataError, match="loss constant: its value does not depend on the embeddings"):
        ranks.value_and_gradients(Constant(), QUERIES)


@every
def test_who_asks_for_a_level_can_make_one(name):
    loss = LOSSES[name]
    columns, parts = ranks.inputs(QUERIES)
    objective = Objective(ranks.Bag(), loss, chunk_size=2, tile=1)
    objective(columns, parts)
    assert bool(objective.levels.isnan().all()) == ("level" not in loss.needs)


def test_the_level_goes_on_from_batch_to_batch():
    columns, parts = ranks.inputs(QUERIES)
    objective = Objective(ranks.Bag(), [InfoNCE(), Bar()], chunk_size=2)
    parts["source"] = torch.tensor(1)
    objective(columns, parts).backward()  # which runs chunks again, but not the level
    first = objective.levels.clone()
    assert first.isnan().tolist() == [True, False]
    with torch.no_grad():
        objective.model.table.mul_(-1).add_(1)
    objective(columns, parts)
    second = objective.levels.clone()
    assert second[1] != first[1]
    batch = assemble(*objective._embed(columns), parts)
    torch.testing.assert_close(second[1], (0.9 * first[1] + 0.1 * batch.positive_scores().mean()).float())
    objective.model.eval()
    objective(columns, parts)
    torch.testing.assert_close(objective.levels, second, equal_nan=True, rtol=0, atol=0)
    assert "levels" in objective.state_dict()


def test_a_level_before_the_first_training_batch_is_not_kept():
    objective = Objective(ranks.Bag().eval(), Bar())
    assert objective(*ranks.inputs(QUERIES)).isfinite()
    assert objective.levels.isnan().all()


def test_without_a_level_there_is_nothing_to_keep():
    assert [name for name in Objective(ranks.Bag(), InfoNCE()).state_dict() if not name.startswith("model.")] == []
