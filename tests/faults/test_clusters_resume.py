"""Batches of clusters that the model makes as it learns: killed anywhere, a training ends with the same bytes."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from embedkit.core.store import digests
from embedkit.training.batching import TopicBatches
from tests.training.runs import TRAIN, run, scored_pairs

ROOT = Path(__file__).parents[2]
STAGE = TRAIN.model_copy(update={"batch_size": 8, "batches": TopicBatches(clusters=2, every=3)})


class PowerCut(BaseException):
    """Ends a run at once, whatever it was doing."""


@pytest.fixture(scope="module")
def pairs(tiny_dataset, tmp_path_factory):
    return scored_pairs(tiny_dataset.path, tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def undisturbed(tiny_model, pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return digests(run(STAGE, tiny_model, pairs, folder)), digests(folder / "work" / "clusters")


def resume(model, pairs, folder):
    (folder / "out").rmdir()
    return digests(run(STAGE, model, pairs, folder)), digests(folder / "work" / "clusters")


def test_clusters_are_made_anew_in_the_middle_of_a_pass(undisturbed):
    assert [name for name in undisturbed[1] if name.endswith(".npy")] == [f"0/{i:06d}.npy" for i in range(5)]


# Clusters of number 3 are made after step 8; checkpoints are of steps 3, 6, 9 and 12.
@pytest.mark.parametrize(
    ("event", "number"),
    [("renewal_written", 4), ("renewal_saved", 4), ("step", 11), ("renewal_written", 1)],
)
def test_killed_and_run_again(event, number, tiny_model, pairs, undisturbed, tmp_path):
    if (event, number) == ("renewal_saved", 4):
        program = [sys.executable, "-m", "tests.training.runs", STAGE.model_dump_json()]
        arguments = [tiny_model, pairs, tmp_path, event, number]
        killed = subprocess.run([*program, *map(str, arguments)], cwd=ROOT, check=False)
        assert killed.returncode == -signal.SIGKILL
    else:
        seen = 0

        def emit(name, facts):
            nonlocal seen
            seen += name == event
            if seen == number:
                raise PowerCut

        with pytest.raises(PowerCut):
            run(STAGE, tiny_model, pairs, tmp_path, emit)
    assert resume(tiny_model, pairs, tmp_path) == undisturbed
