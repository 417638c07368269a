"""A stack for the campaign: every part a child that can be killed and started again, every wire a faulty link.

Long because it starts, breaks and mends every part of a stack.
"""

import asyncio
import functools
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import psycopg

from local_stack.child_process import ChildProcess
from local_stack.errors import StackError
from local_stack.ports import LOOPBACK, LOOPBACK_OPENER, choose_free_block
from local_stack.processes import REPOSITORY
from local_stack.servers import Database, PostgresServer, RedisServer, create_databases
from local_stack.service_environment import ServiceEnvironment, build_environments
from local_stack.state_directory import SECRET_NAMES
from local_stack.topology import PORT_BLOCK, POSTGRES_PORT_OFFSET, REDIS_PORT_OFFSET
from service_chassis.database.migrations import apply_schema
from tests.conftest import schema_of
from tests.faults.faulty_link import FaultyLink
from tests.faults.replay import RequestTape
from tests.faults.seeded_bugs import SEEDED_BUGS
from tests.faults.witness import WITNESS

ACTIVITIES = ("activity-1", "activity-2")
"""Two, so that one's sweeper takes holds from the other while it stands still."""
SERVICES = ("catalog", "metering", *ACTIVITIES)

RESOLVE_AFTER_SECONDS = 3
START_TIMEOUT_SECONDS = 60.0
RESTART_TIMEOUT_SECONDS = 30.0
STOP_WAIT_SECONDS = 15.0

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
SMALL_DISK_SIZE = "600m"

Answer = TypeVar("Answer")


class FaultStack:
    """Starts in `directory`, which must be empty. All blocking work is done in one thread of its own.

    One thread, and always the same: the kernel ends a child when the thread that started it ends.
    """

    def __init__(
        self,
        directory: Path,
        *,
        bug: str = "",
        variables: Mapping[str, str] | None = None,
        goes_through_links: bool = True,
    ) -> None:
        """Without links services reach each other and their servers directly: links are as slow as this process."""
        self._goes_through_links = goes_through_links
        self.directory = directory
        self.control = directory / "control"
        self.bug = bug
        self._variables = {**VARIABLES, **(variables or {})}
        self.has_small_disk = False
        self.restarts = 0
        self._supervisor = ThreadPoolExecutor(1, thread_name_prefix="supervisor")
        self._processes: dict[str, ChildProcess] = {}
        self._environments: dict[str, ServiceEnvironment] = {}
        self._starts = 0

    async def start(self) -> None:
        """Start servers, links and services; return when all are ready. Raises StackError."""
        for name in ("postgres", "redis", "logs", "control"):
            (self.directory / name).mkdir(parents=True)
        self.secrets = {name: secrets.token_urlsafe(18) for name in SECRET_NAMES}
        base = choose_free_block(PORT_BLOCK + 2)
        self._ports = {"activity-2": base + PORT_BLOCK, "activity-2-ops": base + PORT_BLOCK + 1}
        bug = SEEDED_BUGS.get(self.bug)
        self.has_small_disk = _mount_small_disk(self.directory / "postgres")
        self.postgres = PostgresServer(
            self.directory / "postgres",
            base + POSTGRES_PORT_OFFSET,
            self.secrets["postgres_password"],
            self.directory / "logs" / "postgres.log",
            settings={**POSTGRES_SETTINGS, **dict(bug.postgres_settings if bug else ())},
        )
        self.redis = RedisServer(
            self.directory / "redis",
            base + REDIS_PORT_OFFSET,
            self.secrets["redis_password"],
            self.directory / "logs" / "redis.log",
        )
        await self.in_thread(self._start_servers)
        self.dsns = {
            name: self.postgres.dsn(name, name, self.secrets[f"{name}_password"])
            for name in ("catalog", "activity", "metering")
        }
        await self.in_thread(self._migrate)
        await self._start_links(base)
        self._build_environments(base)
        for name in SERVICES:
            await self.start_service(name)
        await self.await_ready()

    async def await_ready(self) -> None:
        """Return once every service says that it is ready. Raises StackError."""
        await asyncio.gather(*[self._wait_until_ready(name) for name in SERVICES])

    async def stop(self) -> None:
        """Stop everything, whatever state it is in."""
        for name in SERVICES:
            self.signal_service(name, signal.SIGCONT)
        with suppress(StackError):
            self.redis.process  # noqa: B018 - raises when it was never started
            self._signal(self.redis.process, signal.SIGCONT)
        await self.in_thread(lambda: [process.stop(1.0) for process in self._processes.values()])
        for link in self.links.values():
            await link.stop()
        await self.tape.close()
        await self.in_thread(self.redis.stop)
        await self.in_thread(self.postgres.stop)
        self._supervisor.shutdown()
        if self.has_small_disk:
            await asyncio.to_thread(_unmount, self.directory / "postgres")

    async def in_thread(self, work: Callable[[], Answer]) -> Answer:
        """Do blocking work in the stack's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._supervisor, work)

    def url(self, name: str, *, is_direct: bool = False) -> str:
        """Return where a service is; an activity process behind its link unless `is_direct`."""
        if name in ACTIVITIES and not is_direct:
            return f"http://{LOOPBACK}:{self.links[f'clients-{name}'].port}"
        return self._environments[name].url

    def pid(self, name: str) -> int:
        """Return a service's process id."""
        return self._processes[name].pid

    async def start_service(self, name: str) -> None:
        """Start a service; it is not ready yet."""
        environment = self._environments[name]
        self._starts += 1
        log = self.directory / "logs" / f"{name}-{self._starts:04}.log"
        variables = {"FAULTS_CONTROL": str(self.control), "FAULTS_PROCESS": name, "FAULTS_BUG": self.bug}
        self._processes[name] = await self.in_thread(
            lambda: ChildProcess(
                name,
                [sys.executable, "-m", "tests.faults.service_process", environment.service.name, "serve"],
                log,
                environment={**os.environ, **environment.variables, **variables},
                working_directory=REPOSITORY,
            )
        )

    async def kill_service(self, name: str) -> None:
        """End a service with SIGKILL."""
        self.signal_service(name, signal.SIGKILL)
        await self.in_thread(lambda: self._processes[name].wait(5.0))

    async def kill_postgres(self) -> None:
        """End the postmaster with SIGKILL; its backends notice by themselves."""
        process = self.postgres.process
        self._signal(process, signal.SIGKILL)
        await self.in_thread(lambda: process.wait(5.0))

    async def await_end(self, pid: int) -> None:
        """Wait until the service with this process id, which is dying, is dead."""
        for process in self._processes.values():
            if process.pid == pid:
                await self.in_thread(functools.partial(process.wait, 5.0))

    async def terminate_service(self, name: str) -> None:
        """Ask a service to end, as an operator does."""
        await self.in_thread(lambda: self._processes[name].stop(STOP_WAIT_SECONDS))

    def signal_service(self, name: str, number: signal.Signals) -> None:
        """Send a signal; fine when it is gone."""
        if name in self._processes:
            self._signal(self._processes[name], number)

    async def revive(self) -> None:
        """Start whatever is not running, with all links healed and everybody awake."""
        for link in self.links.values():
            await link.heal()
        for file in self.control.iterdir():
            file.unlink(missing_ok=True)
        with suppress(StackError):
            self._signal(self.redis.process, signal.SIGCONT)
        await self.in_thread(self._revive_servers)
        await self.restart_ended()

    async def restart_ended(self) -> None:
        """Do what a supervisor does: start services that have ended, wake those that stand still."""
        for name in SERVICES:
            self.signal_service(name, signal.SIGCONT)
            if self._processes[name].exit_code() is not None:
                self.restarts += 1
                await self.start_service(name)

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

    def _migrate(self) -> None:
        create_databases(
            self.postgres.dsn(), [Database(name, self.secrets[f"{name}_password"]) for name in self.dsns]
        )
        for name, dsn in self.dsns.items():
            apply_schema(dsn, schema_of(f"{name}_service"))
        bug = SEEDED_BUGS.get(self.bug)
        for name, statements in (
            ("metering", WITNESS + (bug.metering_sql if bug else "")),
            ("activity", bug.activity_sql if bug else ""),
        ):
            if statements:
                with psycopg.connect(self.dsns[name], autocommit=True) as connection:
                    connection.execute(statements.encode())

    async def _start_links(self, base: int) -> None:
        metering_port = base + 2
        self.tape = RequestTape(metering_port)
        self.links = {
            link.name: link
            for link in (
                FaultyLink("clients-activity-1", base + 1),
                FaultyLink("clients-activity-2", self._ports["activity-2"]),
                FaultyLink("activity-metering", metering_port, self.tape.listen),
                FaultyLink("activity-postgres", self.postgres.port),
                FaultyLink("metering-postgres", self.postgres.port),
                FaultyLink("metering-redis", self.redis.port),
            )
        }
        for link in self.links.values():
            await link.start()

    def _build_environments(self, base: int) -> None:
        overrides = dict(self._variables)
        if self._goes_through_links:
            overrides |= {
                "ACTIVITY_METERING_URL": f"http://{LOOPBACK}:{self.links['activity-metering'].port}",
                "ACTIVITY_POSTGRES_DSN": _through(self.dsns["activity"], self.links["activity-postgres"]),
                "METERING_POSTGRES_DSN": _through(self.dsns["metering"], self.links["metering-postgres"]),
                "METERING_REDIS_URL": _through(self.redis.url, self.links["metering-redis"]),
            }
        second = {
            "ACTIVITY_PORT": str(self._ports["activity-2"]),
            "ACTIVITY_OPS_PORT": str(self._ports["activity-2-ops"]),
        }
        first = build_environments(base, self.dsns, self.redis.url, self.secrets, overrides)
        other = build_environments(base, self.dsns, self.redis.url, self.secrets, {**overrides, **second})
        self._environments = {
            "catalog": first["catalog"],
            "metering": first["metering"],
            "activity-1": first["activity"],
            "activity-2": other["activity"],
        }

    async def _wait_until_ready(self, name: str) -> None:
        url = f"{self._environments[name].operations_url}/readyz"
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not await asyncio.to_thread(_answers, url):
            if time.monotonic() > deadline or self._processes[name].exit_code() is not None:
                raise StackError(f"{name} did not become ready\n{self._processes[name].last_lines()}")
            await asyncio.sleep(0.05)

    def operations_url(self, name: str) -> str:
        """Return where a service's health and metrics are."""
        return self._environments[name].operations_url

    @staticmethod
    def _signal(process: ChildProcess, number: signal.Signals) -> None:
        if process.exit_code() is None:
            os.kill(process.pid, number)


def _through(url: str, link: FaultyLink) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{LOOPBACK}:{link.port}"))


def _answers(url: str) -> bool:
    try:
        with LOOPBACK_OPENER.open(url, timeout=2):
            return True
    except OSError:
        return False


def _mount_small_disk(directory: Path) -> bool:
    """Give `directory` a small file system of its own; False where we may not, and then no disk will be full."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_SIZE},mode=0755", "tmpfs", str(directory)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _unmount(directory: Path) -> None:
    subprocess.run(["umount", "--lazy", directory], check=False)
