"""The trainer's steps: what is told of them equals what the plain trainer logs."""

import json

import pytest
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer

from embedkit.core.errors import StageError, ToldElsewhere
from embedkit.core.pairs import read_pairs
from embedkit.core.stage import Context
from embedkit.core.stats import read_stats
from embedkit.training import trainer
from embedkit.training.numbers import Numbers, Underway
from embedkit.training.watching import Watch
from tests.training.runs import TRAIN, TRAIN_ST, run, scored_pairs


@pytest.fixture(scope="module")
def pairs(tiny_dataset, tmp_path_factory):
    return scored_pairs(tiny_dataset.path, tmp_path_factory.mktemp("pairs"))


class Plain(SentenceTransformerTrainer):
    """The trainer as it is, its log read in every step."""

    shortage = last = None

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.args.logging_strategy, self.args.logging_steps = "steps", 1

    def note(self, step, learning_rate):
        """Nothing to send for."""

    def tell(self, *, wait=True):
        """The trainer's own log tells."""


@pytest.mark.parametrize("stage", [TRAIN, TRAIN_ST], ids=lambda stage: stage.kind)
def test_what_is_told_is_what_the_plain_trainer_logs(stage, tiny_model, pairs, tmp_path, monkeypatch):
    clipped = stage.model_copy(update={"max_grad_norm": 0.5})
    found = run(clipped, tiny_model, pairs, tmp_path / "ours")
    monkeypatch.setattr(trainer, "Stepper", Plain)
    plain = run(clipped, tiny_model, pairs, tmp_path / "plain")
    assert (found / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()
    history = read_stats(found)["history"]
    assert history == read_stats(plain)["history"]
    assert all(entry["grad_norm"] > 0.5 for entry in history)


def test_numbers_of_a_step():
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    norms = torch.tensor([1.0, torch.nan, torch.inf])
    found = Underway(7, 0.1, (torch.tensor(0.5), torch.tensor(0.25)), norms.norm(), norms, parameters).read()
    assert (found.step, found.loss, found.own_loss, found.learning_rate) == (7, 0.5, 0.25, 0.1)
    assert found.problem == "the gradient"
    assert [id(parameter) for parameter in found.bad] == [id(parameter) for parameter in parameters[1:]]
    fine = Underway(7, 0.1, (torch.tensor(0.5), torch.tensor(0.25)), None, None, []).read()
    assert (fine.problem, fine.grad_norm, fine.bad) == (None, None, ())
    other = Underway(7, 0.1, (torch.tensor(torch.nan), torch.tensor(0.25)), None, None, []).read()
    assert other.problem == "the loss"


def test_a_process_whose_own_loss_is_finite_leaves_the_telling_to_the_other(monkeypatch, tmp_path):
    monkeypatch.setattr("embedkit.training.watching.world_size", lambda: 2)
    watch = Watch(None, None, None, Context(tmp_path, tmp_path), lambda _: None)
    found = watch._not_finite(Numbers(3, torch.nan, 0.5, 1.0, 0.1, ()))
    assert isinstance(found, ToldElsewhere)
    assert not list(tmp_path.iterdir())


def spoilt(monkeypatch, gradient: str, at: int) -> None:
    """Let the gradient of the named parameter of a model be infinite in its `at`-th backward pass."""
    original = trainer.open_model

    def open_model(folder, spec) -> SentenceTransformer:
        model = original(folder, spec)
        passes = 0

        def spoil(found):
            nonlocal passes
            passes += 1
            return found * torch.inf if passes == at else found

        dict(model.named_parameters())[gradient].register_hook(spoil)
        return model

    monkeypatch.setattr(trainer, "open_model", open_model)


@pytest.mark.parametrize("stage", [TRAIN, TRAIN_ST], ids=lambda stage: stage.kind)
def test_a_batch_with_a_bad_gradient_can_be_read(stage, tiny_model, pairs, tmp_path, monkeypatch):
    name = "0.model.encoder.layer.1.output.dense.bias"
    spoilt(monkeypatch, name, at=5)
    with pytest.raises(StageError) as caught:
        run(stage, tiny_model, pairs, tmp_path)
    path = tmp_path / "work" / "nan-batch.json"
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("training: the gradient at step 5 is not a finite number; lower learning_rate")
    assert f"with the names of parameters whose gradient is not finite (1, first {name}), is in {path}" in message
    found = json.loads(path.read_text())
    assert found["bad_gradients"] == {"parameters": 1, "first": [name]}
    assert (found["step"], found["grad_norm"]) == (5, "inf")
    assert 0 < found["loss"] < 20
    assert found["learning_rate"] == pytest.approx(2e-3 * (14 - 4) / 12)
    given = read_pairs(pairs)
    texts, documents = given.query_texts(), given.document_texts()
    known = {row.query_id: row for row in given.rows}
    if stage.kind == "train_st":
        assert len(found["rows"]) == 16
        for row in found["rows"]:
            assert row["query"] == texts[row["id"]]
            assert row["positive"] in {documents[d] for d in known[row["id"]].positives}
        return
    assert len(found["queries"]) == 16
    assert found["source"] == 0
    for row in found["queries"]:
        assert row["text"] == texts[row["id"]]
        for kind, most in (("positives", 1), ("negatives", 2)):
            shown = [found["documents"][str(number)] for number in row[kind]]
            assert len(shown) == most
            assert set(shown) <= {documents[d] for d in getattr(known[row["id"]], kind)}
