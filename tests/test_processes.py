"""Teams whose processes are threads here, with torch's own board for one process."""

import os
import signal
import threading
import time

import pytest
from torch.distributed import HashStore

from embedkit import processes
from embedkit.core.errors import DataError, EmbedkitError, ToldElsewhere
from embedkit.processes import Team, appears, follows, join, launched
from embedkit.training import distributed

WATCH = Team._watch


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(processes, "LOOK", 0.005)
    monkeypatch.setattr(Team, "_watch", lambda _: None)  # it would end the tests' process


@pytest.fixture
def board():
    return HashStore()


def ends(team, error):
    """What leaves a team's block where `error` was raised in it."""
    try:
        with team:
            raise error
    except BaseException as left:
        return left


def test_alone_there_is_nobody_to_wait_for():
    with Team() as team:
        team.tell("note", "text")
        team.meet("here")
        assert (team.is_main, team.several, team.read("note")) == (True, False, None)
        with team.training("stage"):
            pass
    assert isinstance(ends(Team(), DataError("bad row")), DataError)


def test_notes_are_heard_in_the_order_asked_for(board):
    first, second = Team(0, 2, board), Team(1, 2, board)
    assert second.read("made") is None
    first.tell("join")
    assert second.hear("made", "join") == ("join", "")
    first.tell("made", "key")
    assert second.hear("made", "join") == ("made", "key")


def test_main_leaves_last(board):
    left = []

    def member(rank, pause):
        with Team(rank, 2, board):
            time.sleep(pause)
        left.append(rank)

    threads = [threading.Thread(target=member, args=(rank, pause)) for rank, pause in ((0, 0.0), (1, 0.2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert left == [1, 0]


def test_what_fails_first_is_told_by_its_process_alone(board):
    told = ends(Team(1, 3, board), DataError("bad row"))
    others = [ends(Team(0, 3, board), DataError("bad row")), ends(Team(2, 3, board), RuntimeError("connection closed"))]
    assert isinstance(told, DataError)
    assert [(type(other), other.code) for other in others] == [(SystemExit, 2), (SystemExit, 2)]


def test_who_knows_less_lets_the_other_tell(board):
    caught = []
    thread = threading.Thread(target=lambda: caught.append(ends(Team(0, 2, board), ToldElsewhere("there"))))
    thread.start()
    time.sleep(0.05)
    assert isinstance(ends(Team(1, 2, board), DataError("here")), DataError)
    thread.join()
    assert isinstance(caught[0], SystemExit)


def test_where_the_user_stops_all_main_says_so(board):
    ended = [ends(Team(rank, 2, board), KeyboardInterrupt()) for rank in (1, 0)]
    assert isinstance(ended[0], SystemExit)
    assert ended[0].code == 130
    assert isinstance(ended[1], KeyboardInterrupt)


def test_a_process_that_was_ended_after_an_error_is_silent(board):
    ends(Team(1, 2, board), DataError("bad row"))
    left = ends(Team(0, 2, board), KeyboardInterrupt())
    assert (type(left), left.code) == (SystemExit, 2)


@pytest.mark.parametrize("gone", [False, True], ids=["failed", "board gone"])
def test_another_s_failure_ends_a_process_that_waits(gone, board, monkeypatch):
    killed = threading.Event()
    monkeypatch.setattr(
        os, "kill", lambda pid, number: (number == signal.SIGTERM and pid == os.getpid()) and killed.set()
    )
    monkeypatch.setattr(os, "_exit", lambda code: None)
    monkeypatch.setattr(Team, "_watch", WATCH)
    monkeypatch.setattr(processes, "GRACE", 0.0)
    team = Team(0, 2, board)
    team.__enter__()
    assert not killed.wait(0.1)
    if gone:
        monkeypatch.setattr(team, "_board", Gone())
    else:
        ends(Team(1, 2, board), DataError("bad row"))
    assert killed.wait(5)
    team._over.set()
    for thread in threading.enumerate():
        if thread.name == "embedkit launch":
            thread.join()  # while what it would end this process with is still replaced


class Gone:
    """A board whose process has ended."""

    def check(self, names):
        raise RuntimeError("Connection reset by peer")


def test_a_store_that_is_not_shared_is_told(board, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "SEEN", 0.05)
    monkeypatch.setattr(appears, "__defaults__", (0.05,))
    board.set("mark", ".launch-0")
    with pytest.raises(EmbedkitError, match=r"--store .*: process 1 on .* does not see what process 0 wrote"):
        Team(1, 2, board).check_shared(tmp_path / "elsewhere")


def test_a_store_that_is_shared(board, tmp_path):
    thread = threading.Thread(target=Team(0, 2, board).check_shared, args=(tmp_path / "work",))
    thread.start()
    Team(1, 2, board).check_shared(tmp_path / "work")
    thread.join()
    assert not list((tmp_path / "work").iterdir())


def test_a_second_run_of_a_script_has_a_board_of_its_own(board, monkeypatch):
    distributed._store.cache_clear()
    monkeypatch.setattr(distributed, "rendezvous", lambda *_, **__: iter([(board, 0, 2)]))
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    first, second = join(), join()
    distributed._store.cache_clear()
    first.tell("plan", "one")
    assert (first.read("plan"), second.read("plan")) == ("one", None)


def test_launchers_are_found_in_the_environment(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert (launched(), follows(), join().several) == (False, False, False)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not join().several
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(EmbedkitError, match="WORLD_SIZE is set, but not RANK"):
        join()
    monkeypatch.setenv("RANK", "1")
    assert follows()
    with pytest.raises(EmbedkitError, match=r"process 1 does not find the others: .*MASTER_ADDR"):
        join()
