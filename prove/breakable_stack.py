"""A stack whose every part is a child that can be killed, frozen, and started again.

Long because it starts, breaks and mends every part of a stack.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import asyncpg

from local_stack.child_process import ChildProcess
from local_stack.errors import StackError
from local_stack.ports import LOOPBACK_OPENER, choose_free_block
from local_stack.processes import REPOSITORY
from local_stack.servers import PostgresServer, RedisServer, create_databases
from local_stack.service_environment import ServiceEnvironment, build_environments
from local_stack.state_directory import SECRET_NAMES
from local_stack.topology import HEALTH_PATH, PORT_BLOCK, POSTGRES_PORT_OFFSET, REDIS_PORT_OFFSET
from prove import freeze
from service_chassis.database.migrations import Schema, apply_schema

ACTIVITIES = ("activity-1", "activity-2")
"""Two, so that one's sweeper takes holds from the other while it stands still."""
SERVICES = ("catalog", "metering", *ACTIVITIES)

RESOLVE_AFTER_SECONDS = 3
START_TIMEOUT_SECONDS = 60.0
RESTART_TIMEOUT_SECONDS = 30.0
STOP_WAIT_SECONDS = 15.0
READY_POLL_SECONDS = 0.05

VARIABLES = {
    "ACTIVITY_METERING_DEADLINE_SECONDS": "1.0",
    "ACTIVITY_RESOLVE_AFTER_SECONDS": str(RESOLVE_AFTER_SECONDS),
    "ACTIVITY_SWEEP_INTERVAL_SECONDS": "0.5",
    "ACTIVITY_RELAY_POLL_SECONDS": "0.5",
    "ACTIVITY_POSTGRES_POOL_SIZE": "8",
    "ACTIVITY_LOG_LEVEL": "warning",
    "METERING_LOG_LEVEL": "warning",
    "CATALOG_LOG_LEVEL": "warning",
    "CATALOG_TOKEN_LIFETIME_SECONDS": "86400",
}
"""Faster than in production where it only shortens a run; nothing here decides about correctness."""

POSTGRES_SETTINGS = {
    "max_connections": "60",
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
    "autovacuum_naptime": "5s",
}
if sys.platform.startswith("linux"):
    # After a kill -9 all data is written to the disk before it is read: the file system as a whole, not file by file.
    POSTGRES_SETTINGS["recovery_init_sync_method"] = "syncfs"

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Program:
    """A process of the stack: its command, variables besides our own, and the URL that answers when it is ready."""

    command: Sequence[str]
    variables: Mapping[str, str]
    ready_url: str


def schema_of(service: str) -> Schema:
    """Return what a service's database must have; `service` is its package."""
    schema: Schema = import_module(f"{service}.components").SCHEMA
    return schema


class BreakableStack:
    """PostgreSQL, Valkey, the catalog, metering and two activity processes, in `directory`, which must be empty.

    All blocking work is done in one thread of its own. One thread, and always the same: the kernel ends a child when
    the thread that started it ends.
    """

    def __init__(
        self,
        directory: Path,
        *,
        variables: Mapping[str, str] | None = None,
        postgres_settings: Mapping[str, str] | None = None,
        inherited_descriptors: Sequence[int] = (),
    ) -> None:
        """Take what start() needs. `inherited_descriptors` stay open in every child: a state directory's lock."""
        self.directory = directory
        self.restarts = 0
        self.environments: dict[str, ServiceEnvironment] = {}
        self.secrets = {name: secrets.token_urlsafe(18) for name in SECRET_NAMES}
        self._base = choose_free_block(PORT_BLOCK + 2)
        self.postgres = PostgresServer(
            directory / "postgres",
            self._base + POSTGRES_PORT_OFFSET,
            self.secrets["postgres_password"],
            directory / "logs" / "postgres.log",
            settings={**POSTGRES_SETTINGS, **(postgres_settings or {})},
            inherited_descriptors=inherited_descriptors,
        )
        self.redis = RedisServer(
            directory / "redis",
            self._base + REDIS_PORT_OFFSET,
            self.secrets["redis_password"],
            directory / "logs" / "redis.log",
            inherited_descriptors=inherited_descriptors,
        )
        self.dsns = {
            name: self.postgres.dsn(name, name, self.secrets[f"{name}_password"])
            for name in ("catalog", "activity", "metering")
        }
        self._inherited_descriptors = inherited_descriptors
        self._variables = {**VARIABLES, **(variables or {})}
        self._supervisor = ThreadPoolExecutor(1, thread_name_prefix="supervisor")
        self._programs: dict[str, Program] = {}
        self._processes: dict[str, ChildProcess] = {}
        self._starts = 0

    async def start(self) -> None:
        """Start servers and services; return when all are ready. Raises StackError."""
        for name in ("postgres", "redis", "logs"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        await self.in_thread(self._start_servers)
        await self.in_thread(self.migrate)
        self.environments = self.describe_services(await self.wire())
        self._programs = {name: self.program(name, each) for name, each in self.environments.items()}
        for name in SERVICES:
            await self.start_service(name)
        await self.await_ready()

    async def await_ready(self) -> None:
        """Return once every process says that it is ready. Raises StackError."""
        await asyncio.gather(*[self._await_ready(name) for name in self._programs])

    async def stop(self) -> None:
        """Stop everything, whatever state it is in."""
        for name in self._processes:
            self.signal_service(name, signal.SIGCONT)
        with contextlib.suppress(StackError):  # it was never started
            self._signal(self.redis.process, signal.SIGCONT)
        await self.in_thread(lambda: [process.stop(1.0) for process in self._processes.values()])
        await self.in_thread(self.redis.stop)
        await self.in_thread(self.postgres.stop)
        self._supervisor.shutdown()

    async def in_thread(self, work: Callable[[], Answer]) -> Answer:
        """Do blocking work in the stack's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._supervisor, work)

    def url(self, name: str) -> str:
        """Return where a service's API is."""
        return self.environments[name].url

    def pid(self, name: str) -> int:
        """Return a service's process id."""
        return self._processes[name].pid

    async def replace_services(self, programs: Mapping[str, Program]) -> None:
        """End every process but the servers, and run these instead. Raises StackError when one is not ready."""
        await self.in_thread(lambda: [process.stop(STOP_WAIT_SECONDS) for process in self._processes.values()])
        self._processes.clear()
        self._programs = dict(programs)
        for name in programs:
            await self.start_service(name)
        await self.await_ready()

    async def start_service(self, name: str) -> None:
        """Start a service; it is not ready yet."""
        program = self._programs[name]
        self._starts += 1
        log = self.directory / "logs" / f"{name}-{self._starts:04}.log"

        def start() -> None:
            # Kept by the thread itself: whoever waits for it may be cancelled, and must find it to stop it.
            self._processes[name] = ChildProcess(
                name,
                program.command,
                log,
                environment={**os.environ, **program.variables},
                working_directory=REPOSITORY,
                inherited_descriptors=self._inherited_descriptors,
            )

        await self.in_thread(start)

    async def kill_service(self, name: str) -> None:
        """End a service with SIGKILL."""
        self.signal_service(name, signal.SIGKILL)
        await self.in_thread(lambda: self._processes[name].wait(5.0))

    async def kill_server(self, server: PostgresServer | RedisServer) -> None:
        """End PostgreSQL's postmaster or Valkey with SIGKILL; PostgreSQL's backends notice by themselves."""
        process = server.process
        self._signal(process, signal.SIGKILL)
        await self.in_thread(lambda: process.wait(5.0))

    @contextlib.asynccontextmanager
    async def frozen(self, process_ids: Sequence[int]) -> AsyncIterator[None]:
        """Let processes stand still (SIGSTOP) for as long as this lasts, and not longer, even if we are killed."""
        command = [sys.executable, "-I", "-S", freeze.__file__, *[str(process_id) for process_id in process_ids]]
        pipe = asyncio.subprocess.PIPE
        freezer = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, start_new_session=True)
        assert freezer.stdin is not None
        assert freezer.stdout is not None
        try:
            await freezer.stdout.readline()
            yield
        finally:
            freezer.stdin.close()
            await asyncio.shield(freezer.wait())

    async def postgres_process_ids(self) -> list[int]:
        """Return PostgreSQL's processes, the postmaster first. Raises OSError, TimeoutError or PostgresError."""
        connection = await asyncpg.connect(self.postgres.dsn(), timeout=5)
        try:
            rows = await connection.fetch("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        finally:
            await connection.close()
        return [self.postgres.process.pid, *[row["pid"] for row in rows]]

    def signal_service(self, name: str, number: signal.Signals) -> None:
        """Send a signal; fine when it is gone."""
        if name in self._processes:
            self._signal(self._processes[name], number)

    async def revive(self) -> None:
        """Start whatever is not running, with everybody awake."""
        self._signal(self.redis.process, signal.SIGCONT)
        await self.in_thread(self._revive_servers)
        await self.restart_ended()

    async def restart_ended(self) -> None:
        """Do what a supervisor does: start services that have ended, wake those that stand still."""
        for name in self._programs:
            self.signal_service(name, signal.SIGCONT)
            if self._processes[name].exit_code() is not None:
                self.restarts += 1
                await self.start_service(name)

    def migrate(self) -> None:
        """Create and migrate the services' databases."""
        create_databases(self.postgres.dsn(), {name: self.secrets[f"{name}_password"] for name in self.dsns})
        for name, dsn in self.dsns.items():
            apply_schema(dsn, schema_of(f"{name}_service"))

    async def wire(self) -> Mapping[str, str]:
        """Return variables that lead services to each other, or to their servers, by another way than directly."""
        return {}

    def describe_services(self, wires: Mapping[str, str]) -> dict[str, ServiceEnvironment]:
        """Return each service's variables, `wires` among them."""
        overrides = {**self._variables, **wires}
        second = {
            "ACTIVITY_PORT": str(self._base + PORT_BLOCK),
            "ACTIVITY_OPS_PORT": str(self._base + PORT_BLOCK + 1),
        }
        first = build_environments(self._base, self.dsns, self.redis.url, self.secrets, overrides)
        other = build_environments(self._base, self.dsns, self.redis.url, self.secrets, {**overrides, **second})
        return {
            "catalog": first["catalog"],
            "metering": first["metering"],
            "activity-1": first["activity"],
            "activity-2": other["activity"],
        }

    def program(self, name: str, environment: ServiceEnvironment) -> Program:
        """Return what is run as the service `name`."""
        return Program(
            environment.service.command("serve"), environment.variables, environment.operations_url + HEALTH_PATH
        )

    def _start_servers(self) -> None:
        self.postgres.start()
        self.redis.start()

    def _revive_servers(self) -> None:
        if self.redis.process.exit_code() is not None:
            self.redis.start()
        deadline = time.monotonic() + RESTART_TIMEOUT_SECONDS
        while self.postgres.process.exit_code() is not None:
            try:
                self.postgres.start()
            except StackError:
                # The last backends of a killed server hold its shared memory for a moment.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    async def _await_ready(self, name: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not await asyncio.to_thread(_answers, self._programs[name].ready_url):
            if time.monotonic() > deadline or self._processes[name].exit_code() is not None:
                raise StackError(f"{name} did not become ready\n{self._processes[name].last_lines()}")
            await asyncio.sleep(READY_POLL_SECONDS)

    @staticmethod
    def _signal(process: ChildProcess, number: signal.Signals) -> None:
        if process.exit_code() is None:
            os.kill(process.pid, number)


def _answers(url: str) -> bool:
    try:
        with LOOPBACK_OPENER.open(url, timeout=2):
            return True
    except OSError:
        return False
