"""Start processes, replace those that die, stop them together.

By fork, before anything runs in this process, so that a worker is what the service without workers is: it goes up
this process's own stack, its errors are told in the same words, and what was loaded is shared memory.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import structlog

from service_chassis.operations.logging import name_worker

MIN_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 10.0
"""Before a process that died is replaced: doubled each time, until one has lived as long as the longest."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM)
_PR_SET_PDEATHSIG = 1
"""prctl(2)."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Task:
    """What a process does until SIGTERM. One that is no worker speaks for them, and ends after them."""

    run: Callable[[], None]
    name: str
    is_worker: bool = True
    pause_seconds: float = MIN_PAUSE_SECONDS
    moment: float = 0.0
    """When its process began, or is to begin."""


class Supervisor:
    """Keeps a process for each task. SIGTERM or SIGINT is passed on; a second one ends all of them at once."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._alive: dict[int, Task] = {}
        self._due = list(tasks)
        self._mask: set[signal.Signals] = set()
        self._status = 0
        self._is_stopping = False
        self._is_proven = False
        self._told, self._tell = os.pipe()
        os.set_blocking(self._told, False)

    def tell_listening(self) -> None:
        """Note, in a worker, that it serves: from now on one that dies, however it does, is replaced."""
        os.write(self._tell, b".")

    def run(self) -> NoReturn:
        """Return never: raise SystemExit, 0 when all was stopped as asked, in this process and in each of its own.

        Before any worker has served, one that ends with a status ends all with it: what it has said is true of all.
        """
        self._mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS))  # type: ignore[arg-type]
        self._start_due()
        while self._alive or self._due:
            number = signal.sigwait(_SIGNALS)
            if number == signal.SIGCHLD:
                for pid, status in _reap():
                    if task := self._alive.pop(pid, None):
                        self._note_end(task, status)
            elif number == signal.SIGALRM:
                self._start_due()
            else:
                if self._is_stopping:
                    self._status = 128 + number
                self._stop(all_at_once=self._is_stopping)
        raise SystemExit(self._status)

    def _start_due(self) -> None:
        now = time.monotonic()
        for task in [each for each in self._due if each.moment <= now]:
            self._due.remove(task)
            task.moment = now
            parent, pid = os.getpid(), os.fork()
            if pid == 0:
                self._become(task, parent)
            self._alive[pid] = task
        self._wake()

    def _become(self, task: Task, parent: int) -> NoReturn:
        # A terminal's Ctrl-C reaches the supervisor only, whose word a second signal would not wait for.
        os.setpgid(0, 0)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                raise SystemExit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        name_worker(task.name)
        task.run()
        raise SystemExit(0)

    def _note_end(self, task: Task, status: int) -> None:
        self._is_proven = self._is_proven or bool(_read_all(self._told))
        if self._is_stopping or (status > 0 and not self._is_proven):
            self._status = self._status or (status if status >= 0 else 128 - status)
            self._stop()
            return
        now = time.monotonic()
        if now - task.moment > MAX_PAUSE_SECONDS:
            task.pause_seconds = MIN_PAUSE_SECONDS
        _log.error(
            "worker_ended",
            worker=task.name,
            how=signal.Signals(-status).name if status < 0 else f"status {status}",
            replaced_after_seconds=task.pause_seconds,
        )
        task.moment = now + task.pause_seconds
        task.pause_seconds = min(2 * task.pause_seconds, MAX_PAUSE_SECONDS)
        self._due.append(task)
        self._wake()

    def _wake(self) -> None:
        """Be woken when the next process is to begin."""
        if self._due:
            seconds = min(task.moment for task in self._due) - time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))

    def _stop(self, *, all_at_once: bool = False) -> None:
        """Ask the workers to end, once, and whoever speaks for them when they have."""
        workers = [pid for pid, task in self._alive.items() if task.is_worker]
        asked = list(self._alive) if all_at_once else workers or list(self._alive)
        if not workers or all_at_once or not self._is_stopping:
            for pid in asked:
                os.kill(pid, signal.SIGTERM)
        self._is_stopping = True
        self._due.clear()


def _reap() -> Iterator[tuple[int, int]]:
    """Yield the processes that have ended, with their status, negative for a signal."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def _read_all(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except BlockingIOError:
        return b""
