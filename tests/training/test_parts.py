"""A training in parts, each a stage, is the training in one, to the last bit. Dropout is on."""

import json

import pytest
import torch
from safetensors import safe_open

from embedkit.core.errors import ArtifactError, StageError
from embedkit.core.estimate import Size
from embedkit.core.stats import STATS, read_stats
from embedkit.core.store import digests
from embedkit.report.release import link_model
from embedkit.retrieval.identity import TRAINING_STATE, model_digest
from embedkit.retrieval.model_folder import describe
from embedkit.training.averaging import Average
from embedkit.training.batching import TopicBatches
from embedkit.training.checkpoints import Checkpoints
from embedkit.training.continuation import _decoded, _encoded, go_on, steps_in
from embedkit.training.early_stopping import Evaluation
from embedkit.training.lora import LoRA
from embedkit.training.parts import Part
from tests.training.members import Bar
from tests.training.runs import TRAIN, run, scored_pairs

OPTIONS = {
    "lora": {"lora": LoRA(rank=2), "learning_rate": 1e-2, "steps": 6},
    "average and a loss that remembers": {"average": Average(decay=0.8), "loss": Bar(), "steps": 6},
}


@pytest.fixture(scope="module")
def pairs(tiny_dataset, tmp_path_factory):
    return scored_pairs(tiny_dataset.path, tmp_path_factory.mktemp("pairs"))


def part(number, of, **options):
    after = f"part{number - 1}" if number > 1 else None
    return TRAIN.model_copy(update={**options, "part": Part(number=number, of=of, after=after)})


@pytest.fixture(scope="module")
def halves(tiny_model, pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("halves")
    first = run(part(1, 2), tiny_model, pairs, folder / "1")
    return first, run(part(2, 2), tiny_model, pairs, folder / "2", part1=first)


def assert_same_but_for_stats(found, expected):
    found, expected = digests(found), digests(expected)
    assert expected.pop(STATS) != found.pop(STATS)
    assert found == expected


def test_parts_with_the_same_pairs_are_one_training(tiny_model, pairs, tmp_path):
    whole = run(TRAIN, tiny_model, pairs, tmp_path / "whole")
    before = run(part(1, 3), tiny_model, pairs, tmp_path / "1")
    before = run(part(2, 3), tiny_model, pairs, tmp_path / "2", part1=before)
    last = run(part(3, 3), tiny_model, pairs, tmp_path / "3", part2=before)
    assert_same_but_for_stats(last, whole)
    assert model_digest(before) != model_digest(last)
    stats = read_stats(last)
    assert stats["history"] == read_stats(whole)["history"]
    assert stats["counts"]["steps"] == 5  # of 14, from the 10th on
    assert ", loss " in stats["summary"][0]
    assert stats["counts"]["rows_seen"] == 5 * 16


@pytest.mark.parametrize("name", OPTIONS)
def test_all_that_a_training_keeps_goes_on(name, tiny_model, pairs, tmp_path):
    options = OPTIONS[name]
    whole = run(TRAIN.model_copy(update=options), tiny_model, pairs, tmp_path / "whole")
    first = run(part(1, 2, **options), tiny_model, pairs, tmp_path / "1")
    assert_same_but_for_stats(run(part(2, 2, **options), tiny_model, pairs, tmp_path / "2", part1=first), whole)


def test_a_part_is_no_early_stop(tiny_model, tiny_dataset, pairs, tmp_path):
    options = {"evaluate": Evaluation(data="data", every=4)}
    first = run(part(1, 2, **options), tiny_model, pairs, tmp_path, data=tiny_dataset.path)
    assert read_stats(first)["evaluation"]["scores"][-1]["step"] < TRAIN.steps
    assert not [line for line in read_stats(first)["summary"] if "stopped" in line]


def test_other_pairs_in_a_later_part_change_the_model(tiny_model, tiny_dataset, pairs, halves, tmp_path):
    other = run(part(2, 2), tiny_model, tiny_dataset.path, tmp_path, part1=halves[0])
    assert model_digest(other) != model_digest(halves[1])


def test_a_later_part_resumes(tiny_model, pairs, halves, tmp_path):
    class PowerCut(BaseException):
        pass

    def cut(name, facts):
        if name == "step" and facts["step"] == 11:
            raise PowerCut

    with pytest.raises(PowerCut):
        run(part(2, 2), tiny_model, pairs, tmp_path, cut, part1=halves[0])
    (tmp_path / "out").rmdir()
    steps = []
    emit = lambda name, facts: steps.append(facts["step"]) if name == "step" else None  # noqa: E731
    assert digests(run(part(2, 2), tiny_model, pairs, tmp_path, emit, part1=halves[0])) == digests(halves[1])
    assert steps == [10, 11, 12, 13, 14]


def test_the_state_is_not_the_models(halves, tmp_path):
    first, last = halves
    assert (first / TRAINING_STATE).is_file()
    assert not (last / TRAINING_STATE).exists()
    about, digest = describe(first), model_digest(first)
    link_model(first, tmp_path)
    assert not (tmp_path / TRAINING_STATE).exists()
    assert (describe(tmp_path), model_digest(tmp_path)) == (about, digest)


def test_the_state_has_no_path_and_no_weights_twice(halves, tiny_model, tmp_path):
    with safe_open(halves[0] / TRAINING_STATE, framework="pt") as file:
        about, names = json.loads(file.metadata()["state"]), list(file.keys())
    assert str(tiny_model) not in json.dumps(about)
    assert about["files"]["model.safetensors"] == {"as": "model"}
    assert not any(name.startswith("model.safetensors") for name in names)
    assert steps_in(halves[0]) == 14


def test_a_restored_checkpoint_is_whole(halves, tmp_path):
    go_on(halves[0], tmp_path)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.newest() == 7
    assert [entry["step"] for entry in checkpoints.history(7)] == [*range(1, 8)]


def test_without_a_state_there_is_nothing_to_go_on_with(tiny_model, pairs, tmp_path):
    with pytest.raises(ArtifactError, match=f"{TRAINING_STATE}: no such file, and the training to be continued"):
        run(part(2, 2), tiny_model, pairs, tmp_path, part1=tiny_model)


def test_nested_values_come_back():
    tensors = {}
    value = {"a": [1, 2.5, None, "x"], 3: (True, {"t": torch.arange(4)}), "n": torch.zeros(2).numpy()}
    again = _decoded(json.loads(json.dumps(_encoded(value, "f", tensors))), tensors)
    assert again["a"] == value["a"]
    assert again[3][0] is True
    assert torch.equal(again[3][1]["t"], torch.arange(4))
    assert again["n"].tolist() == [0.0, 0.0]
    assert type(again[3]) is tuple


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"number": 3, "of": 2, "after": "a"}, "is number 3 of 2 parts"),
        ({"number": 1, "of": 2, "after": "a"}, "part 1 has none before it"),
        ({"number": 2, "of": 2}, "part 2 needs `after`: the stage that is part 1"),
    ],
)
def test_parts_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        Part(**fields)


def test_a_part_after_an_early_stop_is_the_one_before(tiny_model, tiny_dataset, pairs, tmp_path):
    evaluate = Evaluation(data="held", every=1, patience=1, min_gain=1.0, keep="last")
    made = [run(part(1, 2, evaluate=evaluate), tiny_model, pairs, tmp_path / "1", held=tiny_dataset.path)]
    options = {"held": tiny_dataset.path, "part1": made[0]}
    made.append(run(part(2, 2, evaluate=evaluate), tiny_model, pairs, tmp_path / "2", **options))
    assert model_digest(made[0]) == model_digest(made[1])
    assert [read_stats(folder)["summary"][0][:7] for folder in made] == ["2 steps", "0 steps"]
    assert "loss" not in read_stats(made[1])["summary"][0]


def test_a_part_has_a_step(tiny_model, pairs, tmp_path):
    """Else it would take a step of the next part, on the wrong pairs."""
    assert part(3, 3).part.own_span(3) == (2, 3)
    with pytest.raises(StageError, match=r"^part: number 1 of 4 has none of the 3 steps of the whole training"):
        run(part(1, 4, steps=3), tiny_model, pairs, tmp_path)


def test_what_a_part_must_have_in_common_with_the_one_before():
    first, second = part(1, 2), part(2, 2)

    def problems(before, after):
        return [(problem.where, problem.message) for problem in after.conflicts({"part1": before})]

    assert not problems(first, second)
    assert not problems(first.model_copy(update={"pairs": "others", "chunk_size": 4}), second)
    ((where, message),) = problems(first.model_copy(update={"learning_rate": 1.0}), second)
    assert where == ("learning_rate",)
    assert message == "found 0.002, but 'part1', which this continues, has 1.0"
    ((where, message),) = problems(TRAIN, second)
    assert where == ("part", "after")
    assert message == "needs the stage that is part 1 of 2, but 'part1' is no part of a training"
    assert "but 'part1' is part 1 of 3" in problems(part(1, 3), second)[0][1]


def test_a_part_is_estimated_as_what_it_is_of_the_whole():
    size = Size(active_parameters=1000, dimensions=8, pairs=320, query_tokens=5.0, document_tokens=9.0, max_tokens=32)
    sizes = {"model": size, "pairs": size, "part1": size}
    whole, half = TRAIN.estimate(sizes), part(2, 2).estimate(sizes)
    assert (half.steps, half.rows) == (7, 7 * 16)
    assert half.flops == pytest.approx(whole.flops / 2)
    clustered = part(2, 2, batches=TopicBatches(every=2)).estimate(sizes)
    assert clustered.flops > half.flops
    assert clustered.steps == half.steps
