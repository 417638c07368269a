"""A second metering and a second activity process beside a running stack's own, on the same databases."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local_stack.ports import LOOPBACK_OPENER, choose_free_block
from local_stack.processes import REPOSITORY

START_TIMEOUT_SECONDS = 30.0


class ServiceProcess:
    """One more process of a service, as an operator would start it."""

    def __init__(self, service: str, log: Path, **variables: str) -> None:
        self.name = service.upper()
        port = choose_free_block(3)
        self.url = f"http://127.0.0.1:{port}"
        self.ops_url = f"http://127.0.0.1:{port + 1}"
        self._log = log
        self._environment = {
            **os.environ,
            f"{self.name}_PORT": str(port),
            f"{self.name}_OPS_PORT": str(port + 1),
            f"{self.name}_ADMIN_PORT": str(port + 2),
            **{f"{self.name}_{name}": value for name, value in variables.items()},
        }
        self._command = [sys.executable, "-m", f"{service}_service", "serve"]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command, cwd=REPOSITORY, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_until_ready(self) -> None:
        """Return once it is ready; fail with its log when it ends or takes too long."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                LOOPBACK_OPENER.open(f"{self.ops_url}/readyz", timeout=2)
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)

    @property
    def children(self) -> list[int]:
        """Its own processes, workers and the one that speaks for them."""
        return [
            int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start it again on the same ports, once it has ended."""
        self.process = self._start()
        self.wait_until_ready()

    def end(self) -> int:
        """Ask it to end; return its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(30)


@contextlib.contextmanager
def second_metering(stack: dict[str, Any], directory: Path, **variables: str) -> Iterator[ServiceProcess]:
    """Run one more metering process beside the stack's."""
    process = ServiceProcess(
        "metering",
        directory / "metering-2.log",
        POSTGRES_DSN=stack["postgres"]["dsn"]["metering"],
        REDIS_URL=stack["redis"]["url"],
        SERVICE_KEYS=stack["variables"]["metering"]["METERING_SERVICE_KEYS"],
        **variables,
    )
    try:
        process.wait_until_ready()
        yield process
    finally:
        assert process.end() == 0


@contextlib.contextmanager
def second_activity(
    stack: dict[str, Any], directory: Path, metering_url: str, **variables: str
) -> Iterator[ServiceProcess]:
    """Run one more activity process beside the stack's, on the metering process at `metering_url`."""
    process = ServiceProcess(
        "activity",
        directory / "activity-2.log",
        POSTGRES_DSN=stack["postgres"]["dsn"]["activity"],
        JWKS_URL=f"{stack['catalog']['url']}/.well-known/jwks.json",
        METERING_URL=metering_url,
        METERING_KEY=stack["service_keys"]["events"],
        **variables,
    )
    try:
        process.wait_until_ready()
        yield process
    finally:
        assert process.end() == 0
