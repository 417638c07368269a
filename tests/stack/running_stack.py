"""A local stack as a test's child: started as `make run` does, on ports and a directory of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from local_stack.ports import choose_free_block
from local_stack.processes import REPOSITORY
from local_stack.topology import PORT_BLOCK

START_TIMEOUT_SECONDS = 120.0
END_TIMEOUT_SECONDS = 60.0


class RunningStack:
    """One `python -m local_stack` process. `description` is its stack.json once wait_until_ready() has returned."""

    def __init__(self, directory: Path, port_base: int | None = None, **variables: str) -> None:
        """Start it. `variables` are added to the environment; other stacks' settings do not reach it."""
        self.directory = directory
        self.port_base = port_base or choose_free_block(PORT_BLOCK)
        self.stack_file = directory / "stack.json"
        self.description: dict[str, Any] = {}
        directory.mkdir(exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if name not in ("POSTGRES_DSN", "REDIS_URL")}
        environment |= {"STACK_DIR": str(directory), "STACK_PORT_BASE": str(self.port_base), **variables}
        self._output_path = directory.parent / f"{directory.name}.output"
        with self._output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "local_stack"],
                cwd=REPOSITORY,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output_path.read_text()

    def wait_until_ready(self) -> dict[str, Any]:
        """Return stack.json once it is there; fail with the output when the stack ends or takes too long."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self.stack_file.exists():
            try:
                code = self.process.wait(0.05)
            except subprocess.TimeoutExpired:
                assert time.monotonic() < deadline, f"not ready in time:\n{self.output}"
            else:
                raise AssertionError(f"ended with status {code}:\n{self.output}")
        self.description = json.loads(self.stack_file.read_text())
        return self.description

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal, wait for its end, return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(END_TIMEOUT_SECONDS)


def read_all(directory: Path) -> dict[str, str]:
    """Return the text of every file under `directory`, by name."""
    return {path.name: path.read_text(errors="replace") for path in directory.rglob("*") if path.is_file()}
