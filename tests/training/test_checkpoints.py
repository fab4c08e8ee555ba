import json

import pytest
import torch

from embedkit.training.checkpoints import REMEMBERED, SEAL, STATE, Checkpoints


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    made = Checkpoints(tmp_path / "checkpoints")
    for step in (5, 10, 15):
        write(made, step)
        made.seal(step)
    return made


def write(checkpoints: Checkpoints, step: int) -> None:
    folder = checkpoints.folder(step)
    (folder / "inner").mkdir(parents=True)
    (folder / "weights").write_bytes(bytes(1000))
    (folder / "inner" / "more").write_text(str(step))
    (folder / STATE).write_text(json.dumps({"log_history": [{"step": step, "loss": 0.1}]}))


def test_the_last_two_are_kept_and_the_newest_is_found(checkpoints):
    assert checkpoints.steps() == [10, 15]
    assert checkpoints.newest() == 15
    assert checkpoints.history(15) == [{"step": 15, "loss": 0.1}]


def test_one_that_was_never_sealed_is_deleted(checkpoints):
    write(checkpoints, 20)
    assert checkpoints.newest() == 15
    assert checkpoints.steps() == [10, 15]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "add", "seal"])
def test_a_damaged_one_gives_way_to_the_one_before(checkpoints, damage):
    folder = checkpoints.folder(15)
    if damage == "flip":
        (folder / "weights").write_bytes(bytes(999) + b"\1")
    elif damage == "truncate":
        (folder / "weights").write_bytes(bytes(500))
    elif damage == "remove":
        (folder / "inner" / "more").unlink()
    elif damage == "add":
        (folder / "stray").touch()
    else:
        (folder / SEAL).write_text('{"weig')
    assert checkpoints.newest() == 10


def test_half_a_deletion_is_not_a_checkpoint(checkpoints):
    (checkpoints.folder(15) / SEAL).unlink()
    (checkpoints.folder(10) / SEAL).unlink()
    assert checkpoints.newest() is None
    assert checkpoints.steps() == []


def test_what_is_remembered_is_part_of_the_sealed_checkpoint(checkpoints):
    level = torch.tensor([0.1, torch.nan])
    write(checkpoints, 20)
    checkpoints.remember(20, {"levels": level})
    checkpoints.seal(20)
    assert checkpoints.newest() == 20
    torch.testing.assert_close(checkpoints.remembered(20)["levels"], level, equal_nan=True, rtol=0, atol=0)
    assert checkpoints.remembered(15) == {}
    (checkpoints.folder(20) / REMEMBERED).unlink()
    assert checkpoints.newest() == 15


def test_nothing_to_remember_leaves_no_file(checkpoints):
    checkpoints.remember(15, {})
    assert checkpoints.newest() == 15


def test_before_the_first_there_is_none(tmp_path):
    assert Checkpoints(tmp_path / "nowhere").newest() is None
