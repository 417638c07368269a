"""What a stack keeps between starts: data, secrets, logs; and the locks that make the directory one stack's own.

Standard library only: `make clean-data` runs this file before there is a virtual environment.
"""

import fcntl
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from local_stack.errors import StackError

DEFAULT_DIRECTORY = ".local"
LEFTOVER_WAIT_SECONDS = 30.0
"""How long the children of a stack that was killed may take to end: their requests, PostgreSQL's checkpoint."""
POLL_INTERVAL_SECONDS = 0.05

SECRET_NAMES = (
    "postgres_password",
    "catalog_password",
    "activity_password",
    "metering_password",
    "llm_password",
    "redis_password",
    "events_key",
    "llm_key",
    "admin_key",
    "catalog_admin_key",
)
"""Generated once per state directory. Those of PostgreSQL must last as long as its data."""


class StateDirectory:
    """Paths, secrets and stack.json under one directory, which the caller holds through lock_state_directory()."""

    def __init__(self, path: Path, children_lock: int) -> None:
        """`children_lock` is a descriptor every child inherits: it is locked until the last of them has ended."""
        self.path = path
        self.children_lock = children_lock
        self.stack_file = path / "stack.json"

    def log_path(self, name: str) -> Path:
        """Return where the process `name` writes its log."""
        return self.subdirectory("logs") / f"{name}.log"

    def subdirectory(self, name: str) -> Path:
        """Return a directory in it, such as a server's own, made if need be."""
        directory = self.path / name
        directory.mkdir(exist_ok=True)
        return directory

    def load_secrets(self) -> Mapping[str, str]:
        """Return every secret of SECRET_NAMES, generated at the first call and the same ever after."""
        file = self.path / "secrets.json"
        try:
            known = json.loads(file.read_text()) if file.exists() else {}
        except (OSError, ValueError) as error:
            raise StackError(
                f"{file} cannot be read ({error}): make clean-data starts anew, without the data"
            ) from error
        missing = {name: secrets.token_urlsafe(24) for name in SECRET_NAMES if name not in known}
        if missing:
            write_private(file, json.dumps(known | missing, indent=2) + "\n")
        return {**known, **missing}

    def write_stack_file(self, description: Mapping[str, object]) -> None:
        """Announce the stack to programs: the file is there when, and only when, everything is ready."""
        write_private(self.stack_file, json.dumps(description, indent=2) + "\n")

    def remove_stack_file(self) -> None:
        """Take the announcement back; fine when there is none."""
        self.stack_file.unlink(missing_ok=True)


@contextmanager
def lock_state_directory(path: Path) -> Iterator[StateDirectory]:
    """Hold the directory, made if need be, for one stack.

    Two locks. `lock` is this process's: taken means that a stack runs here. `children.lock` is inherited by every
    child: taken while `lock` is free means that a stack was killed and its children are ending, which is waited for.
    So whoever holds both knows that no server of an earlier stack writes to the data or listens on a port.

    Raises StackError when another stack has it, when leftovers do not end, when it cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        own = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        children = os.open(path / "children.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StackError(
            f"the state directory {path} cannot be written ({error}): set STACK_DIR to another"
        ) from error
    try:
        if not _try_lock(own):
            raise StackError(
                f"a stack is already running on {path}: stop it with Ctrl-C, "
                "or set STACK_DIR and STACK_PORT_BASE to run a second one"
            )
        state = StateDirectory(path, children)
        state.remove_stack_file()  # of a stack that was killed: before any waiting, so that nobody takes it for ours
        _wait_for_leftovers(children, path)
        yield state
    finally:
        os.close(own)
        os.close(children)


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner may read, whole or not at all."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def directory_from(environment: Mapping[str, str]) -> Path:
    """Return the state directory that STACK_DIR names, absolute."""
    return Path(environment.get("STACK_DIR") or DEFAULT_DIRECTORY).absolute()


def forget_data(path: Path) -> None:
    """Delete the state directory. Raises StackError when a stack runs on it."""
    if not path.exists():
        return
    if any(path.iterdir()) and not (path / "lock").exists():
        raise StackError(f"{path} is no state directory of a stack: there is no file named lock in it")
    with lock_state_directory(path):
        shutil.rmtree(path)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for_leftovers(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + LEFTOVER_WAIT_SECONDS
    while not _try_lock(descriptor):
        if time.monotonic() > deadline:
            raise StackError(
                f"servers of a stack that was killed still run on {path}: "
                f"end the processes that hold {path / 'children.lock'} open (fuser or lsof names them)"
            )
        time.sleep(POLL_INTERVAL_SECONDS)


if __name__ == "__main__":
    try:
        directory = directory_from(os.environ)
        forget_data(directory)
        print(f"{directory} is gone")
    except StackError as refusal:
        sys.exit(f"clean-data: {refusal}")
