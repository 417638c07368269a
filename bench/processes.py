"""A server that is measured: started on its core, waited for, its processor time read, stopped."""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.cores import SERVICE_CORE, cpu_seconds, on_core
from bench.errors import BenchError
from local_stack.child_process import ChildProcess
from local_stack.ports import LOOPBACK, LOOPBACK_OPENER
from local_stack.processes import REPOSITORY

READY_TIMEOUT_SECONDS = 60.0
READY_POLL_SECONDS = 0.05
STOP_WAIT_SECONDS = 15.0


class Server:
    """One process, with its children, on one core."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log_path: Path,
        *,
        url: str,
        environment: Mapping[str, str] | None = None,
        ready_url: str | None = None,
        core: int = SERVICE_CORE,
        directory: Path = REPOSITORY,
    ) -> None:
        """Start it. `ready_url` answers 200 once it is ready; without one, a connection to `url` is enough."""
        self.name = name
        self.url = url
        self._ready_url = ready_url
        with on_core(core):
            self._process = ChildProcess(
                name,
                command,
                log_path,
                environment={**os.environ, **(environment or {})},
                working_directory=directory,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def cpu_seconds(self) -> float:
        """Return what it and its children have used so far."""
        return cpu_seconds(self.pid)

    def wait_until_ready(self) -> None:
        """Return once it answers. Raises BenchError with the end of its log when it does not."""
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while not self._is_ready():
            if self._process.exit_code() is not None:
                raise BenchError(self._process.death_notice())
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} was not ready in time\n{self._process.last_lines()}")
            time.sleep(READY_POLL_SECONDS)

    def stop(self) -> None:
        """Stop it, in a bounded time."""
        self._process.stop(STOP_WAIT_SECONDS)

    def _is_ready(self) -> bool:
        if self._ready_url is None:
            with socket.socket() as probe:
                return probe.connect_ex((LOOPBACK, int(self.url.rpartition(":")[2]))) == 0
        try:
            with LOOPBACK_OPENER.open(self._ready_url, timeout=2):
                return True
        except OSError:
            return False
