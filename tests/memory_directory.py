"""A directory in memory, where there is enough: nothing that a test writes has to survive, and a disk is slow."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

MEMORY = Path("/dev/shm")
MEMORY_NEEDED_BYTES = 1_000_000_000
"""A server's data takes a fifth of it; a container may have as little as 64 MB for all its processes."""
PREFIX = "metered-plans-tests-"


@contextlib.contextmanager
def directory_in_memory() -> Iterator[Path]:
    """Make a directory, which is removed afterwards, by the next run if this one is killed."""
    if not (MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_NEEDED_BYTES):
        with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
            yield Path(name)
        return
    with _locked(MEMORY, 0):  # so that nobody takes a directory that is not locked yet for one left behind
        _remove_what_killed_runs_left()
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=MEMORY))
        lock = _lock(directory, 0)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
        os.close(lock)


def _remove_what_killed_runs_left() -> None:
    for left in MEMORY.glob(f"{PREFIX}*"):
        # Of a run that is alive, or of another account: not ours to remove.
        with contextlib.suppress(OSError), _locked(left, fcntl.LOCK_NB):
            shutil.rmtree(left)


@contextlib.contextmanager
def _locked(directory: Path, flags: int) -> Iterator[None]:
    lock = _lock(directory, flags)
    try:
        yield
    finally:
        os.close(lock)


def _lock(directory: Path, flags: int) -> int:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
