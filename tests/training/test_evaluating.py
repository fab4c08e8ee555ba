"""Evaluation in a training: when, of which weights, and what comes of it."""

import pytest
import torch
from safetensors.torch import load_file

from embedkit.core.dataset import read_dataset
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.measures.ranking import mean_scores
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.scoring import score_split
from embedkit.training.averaging import Average
from embedkit.training.early_stopping import Evaluation
from embedkit.training.parts import Part
from tests.training.runs import TRAIN, TRAIN_ST, run, scored_pairs

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def pairs(tiny_dataset, tmp_path_factory):
    return scored_pairs(tiny_dataset.path, tmp_path_factory.mktemp("pairs"))


def evaluated(stage=TRAIN, *, updates=None, **fields):
    return stage.model_copy(update={"evaluate": Evaluation(data="data", **fields), **(updates or {})})


def score_of(folder, dataset, context):
    found = score_split(open_encoder(folder, context), read_dataset(dataset.path), "dev")
    return mean_scores(found)["ndcg@10"]


@pytest.mark.parametrize("stage", [TRAIN, TRAIN_ST], ids=lambda stage: stage.kind)
def test_training_goes_as_without(stage, tiny_model, tiny_dataset, pairs, tmp_path, context):
    plain = run(stage, tiny_model, pairs, tmp_path / "plain")
    events = []
    out = run(
        evaluated(stage, every=4, keep="last"),
        *(tiny_model, pairs, tmp_path / "evaluated", lambda name, facts: events.append((name, facts))),
        data=tiny_dataset.path,
    )
    assert digests(out)[WEIGHTS] == digests(plain)[WEIGHTS]
    stats = read_stats(out)
    assert stats["history"] == read_stats(plain)["history"]
    scores = stats["evaluation"]["scores"]
    assert [score["step"] for score in scores] == [0, 4, 8, 12, 14]
    assert scores[0]["value"] == pytest.approx(score_of(tiny_model, tiny_dataset, context), abs=1e-9)
    assert scores[-1]["value"] == pytest.approx(score_of(out, tiny_dataset, context), abs=1e-9)
    told = [facts for name, facts in events if name == "evaluated"]
    assert told == [{"step": s["step"], "metric": "ndcg@10", "score": s["value"]} for s in scores]
    order = [(name, facts["step"]) for name, facts in events if name in ("step", "evaluated")]
    assert order.index(("step", 4)) + 1 == order.index(("evaluated", 4)) == order.index(("step", 5)) - 1


def test_the_best_weights_are_kept(tiny_model, tiny_dataset, pairs, tmp_path, context):
    # a learning rate at which the model is soon worse than it was
    stage = evaluated(every=2, updates={"learning_rate": 0.05, "warmup": 0.0})
    out = run(stage, tiny_model, pairs, tmp_path, data=tiny_dataset.path)
    told = read_stats(out)["evaluation"]
    trained = [score for score in told["scores"] if score["step"]]
    best = max(trained, key=lambda score: score["value"])
    assert told["best"] == best
    assert told["kept"] == best["step"] < trained[-1]["step"]
    assert best["value"] > trained[-1]["value"]
    assert score_of(out, tiny_dataset, context) == pytest.approx(best["value"], abs=1e-9)
    assert set(digests(out)) == set(digests(tiny_model)) | {"stats.json"}


def test_it_stops_early_and_its_checkpoint_knows(tiny_model, tiny_dataset, pairs, tmp_path):
    stage = evaluated(every=1, patience=2, updates={"learning_rate": 1e-9, "checkpoint_every": 100})
    out = run(stage, tiny_model, pairs, tmp_path / "a", data=tiny_dataset.path)
    stats = read_stats(out)
    assert [score["step"] for score in stats["evaluation"]["scores"]] == [0, 1, 2, 3]
    assert stats["counts"]["steps"] == 3
    assert stats["counts"]["rows_seen"] == 3 * 16
    assert "stopped after 2 scores without gain, 11 of 14 steps early" in stats["summary"][-1]
    steps = []
    (tmp_path / "a" / "out").rename(tmp_path / "first")
    again = run(stage, tiny_model, pairs, tmp_path / "a", lambda name, _: steps.append(name), data=tiny_dataset.path)
    assert steps == []  # nothing is trained or scored again
    assert digests(again) == digests(tmp_path / "first")


def test_averaged_weights_are_scored_and_kept(tiny_model, tiny_dataset, pairs, tmp_path, context):
    average = Average(decay=0.5, ramp=False)
    stage = evaluated(every=5, updates={"average": average})
    out = run(stage, tiny_model, pairs, tmp_path / "a", data=tiny_dataset.path)
    told = read_stats(out)["evaluation"]
    assert score_of(out, tiny_dataset, context) == pytest.approx(told["best"]["value"], abs=1e-9)
    lasting = evaluated(every=5, keep="last", updates={"average": average})
    last = run(lasting, tiny_model, pairs, tmp_path / "b", data=tiny_dataset.path)
    plain = run(TRAIN.model_copy(update={"average": average}), tiny_model, pairs, tmp_path / "c")
    assert digests(last)[WEIGHTS] == digests(plain)[WEIGHTS]
    assert read_stats(last)["evaluation"]["scores"][-1]["value"] == pytest.approx(
        score_of(last, tiny_dataset, context), abs=1e-9
    )


def test_weights_kept_from_before_averaging_are_told(tiny_model, tiny_dataset, pairs, tmp_path):
    # 14 steps at a learning rate at which the model is soon worse than it was: the first score is the best
    late = {"average": Average(start=0.9), "learning_rate": 0.05, "warmup": 0.0}
    stage = evaluated(every=2, patience=2, updates=late)
    stats = read_stats(run(stage, tiny_model, pairs, tmp_path / "a", data=tiny_dataset.path))
    kept = stats["evaluation"]["kept"]
    assert (
        f"average: the weights that were kept are those of step {kept}, and averaging begins after step 13, so they "
        "are not averaged; lower start"
    ) in stats["warnings"]
    whole = run(TRAIN.model_copy(update=late), tiny_model, pairs, tmp_path / "b")
    assert not read_stats(whole)["warnings"]


def test_a_training_in_parts_is_evaluated_as_one(tiny_model, tiny_dataset, pairs, tmp_path):
    fields = {"every": 3, "updates": {"learning_rate": 0.05, "warmup": 0.0, "steps": 8}}
    whole = run(evaluated(**fields), tiny_model, pairs, tmp_path / "whole", data=tiny_dataset.path)
    last = None
    for number in (1, 2, 3):
        name = f"part{number - 1}" if last is not None else None
        stage = evaluated(**fields).model_copy(update={"part": Part(number=number, of=3, after=name)})
        others = {} if last is None else {name: last}
        last = run(stage, tiny_model, pairs, tmp_path / str(number), data=tiny_dataset.path, **others)
        told = read_stats(last)["evaluation"]
        assert ("kept" in told) is (number > 1)  # the first part ends before a score is due
    assert told == read_stats(whole)["evaluation"]
    assert digests(last)[WEIGHTS] == digests(whole)[WEIGHTS]


def test_queries_that_are_trained_on_are_warned_of(tiny_model, tiny_dataset, pairs, tmp_path):
    stage = evaluated(split="train", updates={"steps": 2})
    stats = read_stats(run(stage, tiny_model, pairs, tmp_path, data=tiny_dataset.path))
    assert any("72 of 72 queries of 'data' (train) are also trained on" in line for line in stats["warnings"])


def test_queries_of_other_splits_in_the_same_data_set_are_not(tiny_model, tiny_dataset, tmp_path):
    stage = evaluated(updates={"steps": 2, "negatives": None})
    stats = read_stats(run(stage, tiny_model, tiny_dataset.path, tmp_path, data=tiny_dataset.path))
    assert not any("also trained on" in line for line in stats["warnings"])


def test_frozen_weights_are_not_kept_twice(tiny_model, tiny_dataset, pairs, tmp_path):
    stage = evaluated(updates={"freeze": ("embeddings",), "steps": 4})
    out = run(stage, tiny_model, pairs, tmp_path, data=tiny_dataset.path)
    kept = load_file(tmp_path / "work" / "best.safetensors")
    assert kept
    assert not any("embeddings" in name for name in kept)
    before, after = load_file(tiny_model / WEIGHTS), load_file(out / WEIGHTS)
    name = "embeddings.word_embeddings.weight"
    assert torch.equal(before[name], after[name])
