"""The processes of one launch: what the first of them decides, and that none outlives another's failure.

`torchrun`, `accelerate launch` or `embedkit run --nproc` start the same run several times. The first process is *main*:
it makes the artifacts and writes the run folder and the console. The others follow what it says on a board, the key
value store of torch's rendezvous: they take part where a stage trains or is shared, and otherwise look at the board
from time to time. Nobody waits inside a collective, so that nothing times out where main mines for hours.

The first process that fails says so on the board and tells the user; the others see it, or see that the board has gone
with the process that held it, and end without a word.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from embedkit.core.errors import EmbedkitError, ToldElsewhere

if TYPE_CHECKING:
    from embedkit.training.distributed import Board

LOOK: Final = 0.2  # seconds between two looks at the board
GRACE: Final = 10.0  # seconds in which a process may end in its own way after another's failure
SEEN: Final = 60.0  # seconds in which what one node wrote is there for the others, caches of network files included
STOPPED: Final = 130  # exit code, as of a shell's Ctrl-C
_FAILED: Final = "failed"
_RUNS: Final = count()  # of this process: a script may have several, in which nothing said in an earlier one holds


class Team:
    """The processes of a launch, seen from one of them: alone, unless `join` finds others. A context manager: an error
    that leaves it ends the other processes."""

    def __init__(self, rank: int = 0, size: int = 1, board: "Board | None" = None) -> None:
        self.rank = rank
        self.size = size
        self._board = board
        self._over = threading.Event()

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and decides."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    def tell(self, name: str, text: str = "") -> None:
        """Put a note on the board, for all to read; a name is used once."""
        if self._board is not None:
            self._board.set(name, text)

    def read(self, name: str) -> str | None:
        """The note of that name, if it is there."""
        if self._board is None or not self._board.check([name]):
            return None
        return self._board.get(name).decode()

    def hear(self, *names: str) -> tuple[str, str]:
        """The first of these notes that is there, by name and text; waits for it, unless the launch fails."""
        while True:
            for name in names:
                if (text := self.read(name)) is not None:
                    return name, text
            if self.read(_FAILED) is not None:
                raise ToldElsewhere(f"waited for {names[0]}, but another process has failed")
            time.sleep(LOOK)

    def wait_for_failure(self) -> None:
        """Come back once a process has said that the launch has failed."""
        self.hear(_FAILED)

    def meet(self, name: str) -> None:
        """Come back when every process has come here."""
        self.tell(f"{name}/{self.rank}")
        for other in range(self.size) if self.several else ():
            self.hear(f"{name}/{other}")

    def training(self, name: str) -> AbstractContextManager[None]:
        """All processes of the launch train together, at an occasion of that name."""
        if self._board is None:
            return nullcontext()
        from embedkit.training.distributed import group

        return group(self._board, name, rank=self.rank, size=self.size)

    def check_shared(self, folder: Path) -> None:
        """An `EmbedkitError` unless what main writes into `folder` is there for this process too."""
        if not self.several:
            return
        if self.is_main:
            mark = folder / f".launch-{token_hex(8)}"
            folder.mkdir(parents=True, exist_ok=True)
            mark.touch()
            self.tell("mark", mark.name)
            try:
                self.meet("shared")
            finally:
                mark.unlink(missing_ok=True)
            return
        _, name = self.hear("mark")
        if not appears(lambda: (folder / name).exists()):
            raise EmbedkitError(
                f"--store {folder}: process {self.rank} on {socket.gethostname()} does not see what process 0 wrote "
                "there; all nodes need one store, on a file system they share"
            )
        self.meet("shared")

    def __enter__(self) -> Self:
        if self._board is not None:
            threading.Thread(target=self._watch, name="embedkit launch", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board is None:
            return
        if error is None:
            self._end()
            return
        self._over.set()
        if isinstance(error, KeyboardInterrupt):
            stopped = self._first("stopped")  # by the user, whom main answers; else by the watch, or the launcher
            if not stopped or not self.is_main:
                raise SystemExit(STOPPED if stopped else 2) from None
        elif isinstance(error, ToldElsewhere) and appears(lambda: self.read(_FAILED) is not None, GRACE):
            raise SystemExit(2) from None
        elif not self._first(f"{self.rank} {token_hex(4)}"):
            raise SystemExit(2) from None  # what failed first is told by its process, and may be why this one failed

    def _end(self) -> None:
        """Main goes last: it may hold the board."""
        self.tell(f"over/{self.rank}")
        for other in range(self.size) if self.is_main else ():
            self.hear(f"over/{other}")
        self._over.set()

    def _first(self, what: str) -> bool:
        """Whether nothing else has ended the launch before."""
        assert self._board is not None
        try:
            return self._board.compare_set(_FAILED, "", what) == what.encode()
        except RuntimeError:
            return False  # the board has gone, and with it the process that held it

    def _watch(self) -> None:
        """End this process once another has failed, whatever it waits for."""
        assert self._board is not None
        while not self._over.wait(5 * LOOK):
            try:
                failed = self._board.check([_FAILED])
            except RuntimeError:
                failed = True
            if failed and not self._over.is_set():
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(GRACE)
                os._exit(2)  # stuck, in an exchange with the one that failed; what is half written is known as such


def join() -> Team:
    """The processes that a launcher has started, as the environment tells (`RANK`, `WORLD_SIZE`, `LOCAL_RANK`,
    `MASTER_ADDR`, `MASTER_PORT`); this one alone where there is no launcher. With GPUs, one for each process."""
    if not launched():
        return Team()
    if "RANK" not in os.environ:
        raise EmbedkitError("WORLD_SIZE is set, but not RANK; start several processes with torchrun, or with --nproc")
    from embedkit.training.distributed import board, use_own_gpu

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    use_own_gpu(int(os.environ.get("LOCAL_RANK", 0)))
    try:
        return Team(rank, size, board(f"run-{next(_RUNS)}", rank=rank, size=size))
    except (RuntimeError, ValueError) as error:
        raise EmbedkitError(f"process {rank} does not find the others: {str(error).splitlines()[0]}") from None


def launched() -> bool:
    """Whether a launcher has started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def follows() -> bool:
    """Whether it has, and not as the first."""
    return launched() and os.environ.get("RANK") != "0"


def appears(there: Callable[[], bool], seconds: float = SEEN) -> bool:
    """Whether what another node wrote is there before so many seconds have passed."""
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            return False
        time.sleep(LOOK)
    return True
