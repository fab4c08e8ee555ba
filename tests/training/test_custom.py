from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import pytest
from pydantic import ValidationError
from torch import Tensor, relu

from embedkit.core.errors import DataError
from embedkit.core.pairs import read_pairs
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.losses import Batch, InfoNCE, Loss
from embedkit.losses.blocks import negatives
from embedkit.training.custom import train_with
from embedkit.training.stage import Train
from tests.training.runs import run, scored_pairs

OPTIONS = {"steps": 30, "batch_size": 16, "learning_rate": 2e-3, "checkpoint_every": 5}


class Hinge(Loss):
    """Every positive at least a margin above the hardest negative of its query."""

    kind: str = "hinge"
    tiled: ClassVar[bool] = True
    margin: float = 0.2

    def compute(self, batch: Batch) -> Tensor:
        hardest = negatives(batch).logits(temperature=1.0).amax(1)  # (B,)
        hardest = hardest[batch.entries[0] - batch.rows[0]]  # (P,)
        return batch.mean_over_queries(relu(self.margin + hardest - batch.positive_scores()))


class Stopped(BaseException):
    """Ends a training at once."""


@pytest.fixture(scope="module")
def folder(tiny_dataset, tmp_path_factory):
    return scored_pairs(tiny_dataset.path, tmp_path_factory.mktemp("pairs"))


def test_a_loss_of_ones_own_trains_a_model(tiny_model, folder, tmp_path):
    from sentence_transformers import SentenceTransformer

    out = tmp_path / "new" / "hinge"
    history = train_with(Hinge(), model=tiny_model, pairs=read_pairs(folder), out=out, options=OPTIONS)
    losses = [entry["loss"] for entry in history]
    assert len(losses) == 30
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])
    assert SentenceTransformer(str(out), device="cpu").encode("list file").shape == (32,)
    assert not list(out.parent.glob("*/checkpoint-*"))


def test_it_is_evaluated_on_data_that_options_name(tiny_model, folder, tiny_dataset, tmp_path):
    options = {**OPTIONS, "steps": 4, "evaluate": {"data": "questions"}}
    arguments = {"model": tiny_model, "pairs": folder, "options": options}
    with pytest.raises(DataError, match="others: has no folder of 'questions', which options name"):
        train_with(Hinge(), **arguments, out=tmp_path / "a")
    train_with(Hinge(), **arguments, out=tmp_path / "a", others={"questions": tiny_dataset.path})
    assert [score["step"] for score in read_stats(tmp_path / "a")["evaluation"]["scores"]] == [0, 1, 2, 3, 4]


def test_it_is_the_stage_train(tiny_model, folder, tmp_path):
    train_with(InfoNCE(), model=str(tiny_model), pairs=str(folder), out=tmp_path / "a", options=OPTIONS)
    stage = Train(model="model", pairs="pairs", **OPTIONS)
    assert digests(tmp_path / "a") == digests(run(stage, tiny_model, folder, tmp_path))


@contextmanager
def stopping(what, total):
    """A progress that ends the training at its 12th step."""
    steps = iter(range(12))

    def advance(number):
        if number and next(steps) == 11:
            raise Stopped

    yield advance


def test_an_interrupted_training_goes_on(tiny_model, folder, tmp_path):
    def train(out, **more):
        pairs = read_pairs(folder)
        return train_with(Hinge(), model=tiny_model, pairs=pairs, out=tmp_path / out, options=OPTIONS, **more)

    with pytest.raises(Stopped):
        train("resumed", work=tmp_path / "work", progress=stopping)
    assert not (tmp_path / "resumed").exists()
    assert (tmp_path / "work" / "checkpoints" / "checkpoint-10").is_dir()
    history = train("resumed", work=tmp_path / "work")
    assert history == train("undisturbed")
    assert digests(tmp_path / "resumed") == digests(tmp_path / "undisturbed")


def test_mistakes(tiny_model, folder, tmp_path):
    with pytest.raises(DataError, match="is there already"):
        train_with(Hinge(), model=tiny_model, pairs=read_pairs(folder), out=tmp_path)
    with pytest.raises(ValidationError, match="Extra inputs"):
        train_with(Hinge(), model=tiny_model, pairs=read_pairs(folder), out=tmp_path / "a", options={"step": 3})
