import importlib.util
import os
import shutil

import pytest

from embedkit.core.errors import EmbedkitError
from embedkit.core.spec import identity
from embedkit.core.stage import Artifact, Context
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.training import trackers
from embedkit.training.early_stopping import Evaluation
from embedkit.training.trackers import check_installed, named, tracking
from tests.training.runs import TRAIN, scored_pairs


@pytest.fixture(scope="module")
def pairs(tiny_dataset, tmp_path_factory):
    return scored_pairs(tiny_dataset.path, tmp_path_factory.mktemp("pairs"))


def train(stage, model, pairs, data, folder, emit=lambda name, facts: None, name="student of tiny"):
    out = folder / "out"
    out.mkdir(parents=True)
    (folder / "work").mkdir(exist_ok=True)
    context = Context(folder / "work", folder / "embeddings", emit=emit, name=name, logs=folder / "run" / "logs")
    paths = {"model": model, "pairs": pairs, "data": data}
    stage.run({name: Artifact(name[0] * 64, path) for name, path in paths.items()}, out, context)
    return out


def scalars(folder):
    """tag -> step -> value, and texts, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed")
def test_tensorboard_shows_each_step_once_after_a_kill(tiny_model, pairs, tiny_dataset, tmp_path):
    stage = TRAIN.model_copy(update={"trackers": ("tensorboard",), "evaluate": Evaluation(data="data", every=5)})
    arguments = tiny_model, pairs, tiny_dataset.path

    def cut(name, facts):
        if name == "step" and facts["step"] == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stage, *arguments, tmp_path, cut)
    (tmp_path / "out").rmdir()
    out = train(stage, *arguments, tmp_path)
    found = scalars(tmp_path / "run" / "logs" / "tensorboard" / "student of tiny")
    stats = read_stats(out)
    assert found["train/loss"] == [(e["step"], pytest.approx(e["loss"])) for e in stats["history"]]
    assert found["train/grad_norm"] == [(e["step"], pytest.approx(e["grad_norm"])) for e in stats["history"]]
    assert found["eval/ndcg_at_10"] == [(s["step"], pytest.approx(s["value"])) for s in stats["evaluation"]["scores"]]
    untold = train(stage.model_copy(update={"trackers": ()}), *arguments, tmp_path / "untold")
    assert digests(out) == digests(untold)


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed")
def test_tensorboard_shows_every_training_of_a_run_by_its_name(tiny_model, pairs, tiny_dataset, tmp_path, monkeypatch):
    stage = TRAIN.model_copy(update={"trackers": ("tensorboard",), "steps": 2})
    for name in ("recipe/first", "recipe/second"):
        train(stage, tiny_model, pairs, tiny_dataset.path, tmp_path, name=name)
        shutil.rmtree(tmp_path / "out")
        shutil.rmtree(tmp_path / "work")
    logs = tmp_path / "run" / "logs"
    for name in ("recipe/first", "recipe/second"):
        assert [step for step, _ in scalars(logs / "tensorboard" / name)["train/loss"]] == [1, 2]
    monkeypatch.setattr(trackers, "is_main", lambda: False)  # a file of the second process would hide the first's
    assert trackers.callbacks(("tensorboard",), logs, name="recipe/first", done=None) == []


def test_one_that_is_not_installed():
    if importlib.util.find_spec("mlflow") is not None:
        pytest.skip("MLflow is installed")
    with pytest.raises(
        EmbedkitError, match=r"^trackers: mlflow is not installed; `pip install mlflow`, or leave it out$"
    ):
        TRAIN.model_copy(update={"trackers": ("mlflow",)}).facts()
    check_installed(())


def test_what_the_trainer_is_told(tmp_path, monkeypatch):
    assert named(("tensorboard", "mlflow", "trackio")) == ["mlflow", "trackio"]
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    ended = 0

    def end() -> None:
        nonlocal ended
        ended += 1

    monkeypatch.setattr(trackers, "_end_run", end)
    monkeypatch.setattr(trackers, "_logged_in", lambda: False)
    before = dict(os.environ)
    with tracking(("wandb", "mlflow", "trackio"), tmp_path / "logs"):
        now = dict(os.environ)
        assert now["WANDB_PROJECT"] == "mine"  # the user's own settings stay
        assert (now["WANDB_MODE"], now["WANDB_DIR"]) == ("offline", str(tmp_path / "logs"))
        assert now["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/logs/mlflow.db"
        assert now["TRACKIO_DIR"] == str(tmp_path / "logs" / "trackio")
        assert (tmp_path / "logs").is_dir()
    assert dict(os.environ) == before
    monkeypatch.setattr(trackers, "_logged_in", lambda: True)
    with tracking(("wandb",), tmp_path / "logs"):
        assert "WANDB_MODE" not in os.environ
    assert ended == 2


def test_who_is_logged_in_at_wandb(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not trackers._logged_in()
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n login user\n password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    assert trackers._logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not trackers._logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert trackers._logged_in()


def test_they_are_not_in_the_identity():
    keys = {"model": "1", "pairs": "2"}
    told = TRAIN.model_copy(update={"trackers": ("tensorboard",)})
    assert identity(told, keys=keys, digests={}) == identity(TRAIN, keys=keys, digests={})
