"""Which core runs what, and what a process has used of it."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

CORES = sorted(os.sched_getaffinity(0))
SERVICE_CORE = CORES[0]
"""What is measured: a service, a peer, and nothing else."""
LOAD_CORE = CORES[-1]
"""Load and databases, of every side alike."""

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Children that are started meanwhile run on `core`, and theirs: affinity is inherited."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(*pids: int) -> float:
    """Return the processor time of processes and all of their descendants, in user and kernel, ended ones too."""
    return sum(_ticks(pid) for pid in _with_descendants(pids)) / _TICKS_PER_SECOND


def on_all_cores(*pids: int) -> None:
    """Let processes and all of their descendants run on every core from now on."""
    for pid in _with_descendants(pids):
        os.sched_setaffinity(pid, CORES)


def _with_descendants(pids: Iterable[int]) -> set[int]:
    parents = _parents()
    wanted = set(pids)
    while grown := {pid for pid, parent in parents.items() if parent in wanted and pid not in wanted}:
        wanted |= grown
    return wanted


def _parents() -> dict[int, int]:
    found = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal() and (fields := _stat(int(directory.name))):
            found[int(directory.name)] = int(fields[1])
    return found


def _ticks(pid: int) -> int:
    fields = _stat(pid)
    return sum(int(field) for field in fields[11:15]) if fields else 0


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the command's name, the state first; [] when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
