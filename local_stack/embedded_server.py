"""What embedded servers have in common: each is a child process of ours, and is there once it answers."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from local_stack.child_process import ChildProcess
from local_stack.errors import StackError

POLL_INTERVAL_SECONDS = 0.02


class EmbeddedServer:
    """A server on 127.0.0.1, with a password. What it is says how it starts."""

    title: ClassVar[str]
    start_timeout_seconds: ClassVar[float]
    stop_wait_seconds: ClassVar[float]

    def __init__(
        self, directory: Path, port: int, password: str, log_path: Path, inherited_descriptors: Sequence[int]
    ) -> None:
        self.port = port
        self._directory = directory
        self._password = password
        self._log_path = log_path
        self._inherited_descriptors = inherited_descriptors
        self._process: ChildProcess | None = None

    @property
    def process(self) -> ChildProcess:
        """The running server. Raises StackError before start()."""
        if self._process is None:
            raise StackError(f"{self.title} has not been started")
        return self._process

    def stop(self) -> bool:
        """Stop it; return whether it did so by itself. Fine when it never started."""
        return self._process.stop(self.stop_wait_seconds) if self._process else True

    def _wait_until_it_answers(
        self, ask: Callable[[], object], not_yet: tuple[type[Exception], ...], mend: str = ""
    ) -> None:
        """Return once `ask` does; until then it raises one of `not_yet`.

        Raises StackError where it takes too long, and with `mend` where the server has ended.
        """
        deadline = time.monotonic() + self.start_timeout_seconds
        while True:
            if self.process.exit_code() is not None:
                raise StackError(f"{self.process.death_notice()}\n{mend}".rstrip())
            try:
                ask()
                return
            except not_yet as error:
                if time.monotonic() > deadline:
                    self.stop()
                    raise StackError(
                        f"{self.title} did not answer within {self.start_timeout_seconds:g} s: {error}; "
                        f"log {self._log_path}"
                    ) from error
            time.sleep(POLL_INTERVAL_SECONDS)
