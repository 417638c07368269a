"""The services' processes: migrate, start, wait until ready, watch, stop in order."""

import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from local_stack.child_process import ChildProcess
from local_stack.errors import StackError
from local_stack.ports import LOOPBACK_OPENER
from local_stack.service_environment import ServiceEnvironment
from local_stack.state_directory import StateDirectory
from local_stack.topology import HEALTH_PATH

REPOSITORY = Path(__file__).parent.parent
MIGRATE_TIMEOUT_SECONDS = 300.0
READY_TIMEOUT_SECONDS = 60.0
"""A service is ready within a second or two; a machine that is busy with something else may take long."""
HEALTH_REQUEST_TIMEOUT_SECONDS = 2.0
STOP_WAIT_SECONDS = 15.0
"""Longer than a service gives its own requests to end."""
READY_POLL_SECONDS = 0.05
WATCH_POLL_SECONDS = 0.2


class Processes:
    """The children of a stack, in the order of their start; stopped backwards."""

    def __init__(self, state: StateDirectory, stopping: ExitStack) -> None:
        """`stopping` gets a callback for each child: closing it stops them, the last one first."""
        self._state = state
        self._stopping = stopping
        self._running: dict[str, ChildProcess] = {}

    def adopt(self, name: str, process: ChildProcess) -> None:
        """Watch a child that somebody else starts and stops: an embedded server."""
        self._running[name] = process

    def migrate(self, environments: Iterable[ServiceEnvironment]) -> None:
        """Bring every service's database up to date, all at once.

        Raises StackError with the last words of a migration that fails, or takes longer than anybody waits for.
        """
        migrations: list[ChildProcess] = []
        for environment in environments:
            migrations.append(self._start(environment, "migrate", f"{environment.service.name}-migrate"))
            self._stopping.callback(migrations[-1].stop, STOP_WAIT_SECONDS)
        for migration in migrations:
            if migration.wait(MIGRATE_TIMEOUT_SECONDS) is None:
                limit = f"{MIGRATE_TIMEOUT_SECONDS:g} s"
                raise StackError(f"{migration.name} did not end within {limit}; its log is {migration.log_path}")
            if migration.exit_code() != 0:
                raise StackError(migration.death_notice())

    def start(self, environment: ServiceEnvironment) -> None:
        """Start one service; it is not ready yet."""
        name = environment.service.name
        process = self._start(environment, "serve", name)
        self._running[name] = process
        self._stopping.callback(process.stop, STOP_WAIT_SECONDS)

    def wait_until_ready(self, environment: ServiceEnvironment) -> None:
        """Return once the service answers 200 to /readyz.

        Raises StackError when any child dies meanwhile, or with what is not ready when it takes too long.
        """
        url = environment.operations_url + HEALTH_PATH
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while (answer := _ask(url)) != "ready":
            self.require_all_alive()
            if time.monotonic() > deadline:
                name = environment.service.name
                process = self._running[name]
                raise StackError(
                    f"{name} was not ready within {READY_TIMEOUT_SECONDS:g} s ({url}: {answer}); "
                    f"its log is {process.log_path}\n{process.last_lines()}"
                )
            time.sleep(READY_POLL_SECONDS)

    def pid(self, name: str) -> int | None:
        """Return a child's process id; None for a server that is not ours."""
        return self._running[name].pid if name in self._running else None

    def require_all_alive(self) -> None:
        """Raise StackError about the first child that has ended, with the end of its log."""
        for process in self._running.values():
            if process.exit_code() is not None:
                raise StackError(process.death_notice())

    def watch(self) -> NoReturn:
        """Stay until a child ends, which raises StackError, or a signal's handler raises."""
        while True:
            self.require_all_alive()
            time.sleep(WATCH_POLL_SECONDS)

    def _start(self, environment: ServiceEnvironment, verb: str, log_name: str) -> ChildProcess:
        return ChildProcess(
            log_name,
            environment.service.command(verb),
            self._state.log_path(log_name),
            environment={**os.environ, **environment.variables},
            working_directory=REPOSITORY,
            inherited_descriptors=[self._state.children_lock],
        )


def _ask(url: str) -> str:
    """Return "ready" for a 200, else a few words on what came instead."""
    try:
        with LOOPBACK_OPENER.open(url, timeout=HEALTH_REQUEST_TIMEOUT_SECONDS) as response:
            return "ready" if response.status == 200 else f"status {response.status}"
    except urllib.error.HTTPError as error:
        return f"status {error.code}: {error.read(500).decode(errors='replace')}"
    except OSError as error:
        return str(error)
