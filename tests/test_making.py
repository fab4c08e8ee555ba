"""Several processes of one launch make a plan's steps; they are threads here."""

import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from torch.distributed import HashStore

from embedkit import processes
from embedkit.core.errors import DataError, EmbedkitError
from embedkit.core.spec import ModelRef
from embedkit.core.stage import Stage
from embedkit.making import PartsFailed
from embedkit.processes import Team
from embedkit.recipe import Recipe
from embedkit.runner import run

DID: list[tuple[str, str]] = []  # what was done, and the thread that did it


def note(what: str) -> None:
    DID.append((what, threading.current_thread().name))


def who(what: str) -> list[str]:
    return sorted(name for did, name in DID if did == what)


class Alone(Stage):
    """Shares some of its work."""

    kind: Literal["alone"] = "alone"
    produces: ClassVar = "model"
    text: str = "x"

    def share(self, inputs, context):
        assert context.work.is_dir()
        note("share")

    def run(self, inputs, out, context):
        note("run")
        if self.text == "bad":
            raise DataError("text: found 'bad'; expected anything else")
        (out / "text.txt").write_text(self.text)


class All(Stage):
    """All processes run it, and meet in it."""

    kind: Literal["all"] = "all"
    produces: ClassVar = "model"
    together: ClassVar = True
    model: ModelRef
    meeting: ClassVar = threading.Barrier(2)

    def run(self, inputs, out, context):
        note("together")
        (context.work / threading.current_thread().name).touch()
        self.meeting.wait(10)
        assert len(list(context.work.iterdir())) == 2  # one work folder, to find each other's parts of checkpoints
        (out / "text.txt").write_text(threading.current_thread().name)


class Parted(Stage):
    """Is made of parts."""

    kind: Literal["parted"] = "parted"
    produces: ClassVar = "model"
    model: ModelRef
    bad: int = -1
    count: int = 6

    def parts(self):
        return {f"{i}/part": PartOf(model=self.model, number=i, bad=i == self.bad) for i in range(self.count)}

    def run(self, inputs, out, context):
        (out / "text.txt").write_text(
            "".join((inputs[f"{i}/part"].path / "n.txt").read_text() for i in range(self.count))
        )


class PartOf(Stage):
    """Takes a while."""

    kind: Literal["part"] = "part"
    produces: ClassVar = "text"
    model: ModelRef
    number: int
    bad: bool

    def run(self, inputs, out, context):
        note(f"part {self.number}")
        time.sleep(0.05)
        if self.bad:
            raise DataError("number: found a bad one")
        (out / "n.txt").write_text(str(self.number))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(processes, "LOOK", 0.005)
    monkeypatch.setattr(Team, "training", lambda *_: nullcontext())
    monkeypatch.setattr(Team, "_watch", lambda _: None)  # it would end the tests' process
    DID.clear()


def launch(recipes: list[Recipe], folder: Path) -> tuple[list, list[BaseException | None], list[str]]:
    """What each process's run came to, or the error it ended with, and the events."""
    board, results, events = HashStore(), [None, None], []
    errors: list[BaseException | None] = [None, None]

    def member(rank: int) -> None:
        try:
            with Team(rank, 2, board) as team:
                results[rank] = run(
                    recipes[rank],
                    store=folder / "store",
                    out=folder / "out",
                    team=team,
                    emit=lambda e, f: events.append(e),
                )
        except BaseException as error:
            errors[rank] = error

    threads = [threading.Thread(target=member, args=(rank,), name=f"process {rank}") for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results, errors, events


def toy(**fields) -> Recipe:
    stages = {
        "a": Alone(text=fields.pop("text", "x")),
        "b": All(model="a"),
        "c": Parted(model="b", **fields),
    }
    return Recipe("toy", stages)


def test_each_stage_is_made_once_and_all_take_part_where_they_can(tmp_path):
    results, errors, events = launch([toy(), toy()], tmp_path)
    assert errors == [None, None]
    assert (who("run"), who("share")) == (["process 0"], ["process 0", "process 1"])
    assert who("together") == ["process 0", "process 1"]
    assert results[0].artifacts == results[1].artifacts
    assert (results[0].artifacts["b"].path / "text.txt").read_text() == "process 0"
    assert (tmp_path / "out" / "c" / "text.txt").read_text() == "012345"
    parts = [who(f"part {i}") for i in range(6)]
    assert all(len(makers) == 1 for makers in parts)
    assert {maker for (maker,) in parts} == {"process 0", "process 1"}
    assert sorted(results[0].made) == sorted(results[0].artifacts)  # what others made of the parts was made now, too
    assert (events.count("run_started"), events.count("run_finished"), events.count("stage_finished")) == (1, 1, 9)


def test_a_second_launch_makes_nothing(tmp_path):
    launch([toy(), toy()], tmp_path)
    DID.clear()
    results, errors, _ = launch([toy(), toy()], tmp_path)
    assert (errors, DID, results[0].made, results[1].made) == ([None, None], [], [], [])


def test_an_error_ends_all_and_is_told_by_one(tmp_path):
    _, errors, _ = launch([toy(text="bad"), toy(text="bad")], tmp_path)
    assert isinstance(errors[0], DataError)
    assert errors[0].problems == ("stages.a: text: found 'bad'; expected anything else",)
    assert isinstance(errors[1], SystemExit)
    assert who("share") == ["process 0", "process 1"]


def test_parts_that_fail_are_tried_once_and_told_once(tmp_path):
    _, errors, events = launch([toy(bad=2), toy(bad=2)], tmp_path)
    assert isinstance(errors[0], PartsFailed)
    assert errors[0].problems == ("stages.c/2/part: number: found a bad one",)
    assert isinstance(errors[1], SystemExit)
    assert len(who("part 2")) == 1
    assert events.count("stage_failed") == 1
    assert set(errors[0].artifacts) == {"a", "b", *(f"c/{i}/part" for i in (0, 1, 3, 4, 5))}


def test_nodes_that_would_make_something_else_are_told(tmp_path):
    _, errors, _ = launch([toy(), toy(text="y")], tmp_path)
    assert isinstance(errors[1], EmbedkitError)
    assert "stages.a: process 1 on" in str(errors[1])
