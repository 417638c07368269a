"""A stack for the campaign: besides what any can be, with a faulty link on every wire, and bugs put in on purpose."""

import asyncio
import functools
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from local_stack.ports import LOOPBACK, choose_free_port
from local_stack.servers import create_databases
from local_stack.service_environment import ServiceEnvironment
from local_stack.topology import GUEST
from prove.breakable_stack import ACTIVITIES, RESOLVE_AFTER_SECONDS, STOP_WAIT_SECONDS, BreakableStack, Program
from tests.faults.faulty_link import FaultyLink
from tests.faults.replay import RequestTape
from tests.faults.seeded_bugs import SEEDED_BUGS
from tests.faults.witness import WITNESS

SMALL_DISK_SIZE = "600m"
CONNECTIONS = {"max_connections": "100"}
"""More than all pools of all processes together: the checker, and metering's time, must find one free."""
TOKEN_SELLERS = ("llm-1", "llm-2")
"""The processes of the second product; two, so that one's sweeper takes holds from the other."""


class FaultStack(BreakableStack):
    """Runs the services with the campaign's hands inside, on a small disk where it may mount one."""

    def __init__(
        self,
        directory: Path,
        *,
        bug: str = "",
        variables: Mapping[str, str] | None = None,
        goes_through_links: bool = True,
        sells_tokens: bool = False,
        inherited_descriptors: Sequence[int] = (),
    ) -> None:
        """Without links services reach each other and their servers directly: links are as slow as this process.

        With `sells_tokens` two processes of a second product run beside activity's: the guide's example.
        """
        self._bug = SEEDED_BUGS.get(bug)
        settings = {**CONNECTIONS, **dict(self._bug.postgres_settings if self._bug else ())}
        super().__init__(
            directory,
            variables=variables,
            postgres_settings=settings,
            inherited_descriptors=inherited_descriptors,
        )
        self._goes_through_links = goes_through_links
        self._sells_tokens = sells_tokens
        self.guest_dsn = self.postgres.dsn(GUEST, GUEST, self.secrets[f"{GUEST}_password"])
        self._guest_ports = [choose_free_port() for _ in TOKEN_SELLERS]
        self.control = directory / "control"
        self.metering_ahead = directory / "ahead-metering"
        """By how many seconds metering's process is ahead of the others, as its database is (metering_time.py)."""
        self.links: dict[str, FaultyLink] = {}
        self.has_small_disk = False

    async def start(self) -> None:
        """Start everything. Raises StackError."""
        self.control.mkdir(parents=True)
        (self.directory / "postgres").mkdir(exist_ok=True)
        self.has_small_disk = _mount_small_disk(self.directory / "postgres")
        await super().start()
        if self._sells_tokens:
            for name, port in zip(TOKEN_SELLERS, self._guest_ports, strict=True):
                self._programs[name] = self._guest(name, port)
                await self.start_service(name)
                await self.await_ready()  # one after the other: each creates its tables where they are not there

    async def stop(self) -> None:
        """Stop everything, whatever state it is in."""
        for link in self.links.values():
            await link.stop()
        await super().stop()
        if self.links:
            await self.tape.close()
        if self.has_small_disk:
            await asyncio.to_thread(_unmount, self.directory / "postgres")

    def url(self, name: str, *, is_direct: bool = False) -> str:
        """Return where a service is; an activity process behind its link, if links there are, unless `is_direct`."""
        if name in TOKEN_SELLERS:
            return f"http://{LOOPBACK}:{self._guest_ports[TOKEN_SELLERS.index(name)]}"
        if name in ACTIVITIES and self._goes_through_links and not is_direct:
            return f"http://{LOOPBACK}:{self.links[f'clients-{name}'].port}"
        return super().url(name)

    def operations_url(self, name: str) -> str:
        """Return where a service's health and metrics are."""
        return self.environments[name].operations_url

    async def kill_postgres(self) -> None:
        """End the postmaster with SIGKILL; its backends notice by themselves."""
        await self.kill_server(self.postgres)

    async def await_end(self, pid: int) -> None:
        """Wait until the service with this process id, which is dying, is dead."""
        for process in self._processes.values():
            if process.pid == pid:
                await self.in_thread(functools.partial(process.wait, 5.0))

    async def terminate_service(self, name: str) -> None:
        """Ask a service to end, as an operator does."""
        await self.in_thread(lambda: self._processes[name].stop(STOP_WAIT_SECONDS))

    async def revive(self) -> None:
        """Start whatever is not running, with all links healed and everybody awake."""
        for link in self.links.values():
            await link.heal()
        for file in self.control.iterdir():
            file.unlink(missing_ok=True)
        await super().revive()

    def program(self, name: str, environment: ServiceEnvironment) -> Program:
        """Return the service with the campaign's hands inside."""
        whole = super().program(name, environment)
        hands = {
            "FAULTS_CONTROL": str(self.control),
            "FAULTS_PROCESS": name,
            "FAULTS_AHEAD": str(self.directory / f"ahead-{name}"),
            "FAULTS_BUG": self._bug.name if self._bug else "",
        }
        command = [sys.executable, "-m", "tests.faults.service_process", environment.service.name, "serve"]
        return Program(command, {**whole.variables, **hands}, whole.ready_url)

    def _guest(self, name: str, port: int) -> Program:
        """Return the guide's example, with the campaign's hands inside."""
        variables = {
            "LLM_POSTGRES_DSN": _through(self.guest_dsn, self.links["llm-postgres"]),
            "LLM_PORT": str(port),
            "LLM_RESOLVE_AFTER_SECONDS": str(RESOLVE_AFTER_SECONDS),
            "METERING_URL": f"http://{LOOPBACK}:{self.links['llm-metering'].port}",
            "METERING_KEY": self.secrets[f"{GUEST}_key"],
            "FAULTS_CONTROL": str(self.control),
            "FAULTS_PROCESS": name,
        }
        command = [sys.executable, "-m", "tests.faults.service_process", GUEST]
        return Program(command, variables, f"{self.url(name)}/healthz")

    def migrate(self) -> None:
        """Migrate; then put in the witness, and what the bug does to the schema."""
        super().migrate()
        create_databases(self.postgres.dsn(), {GUEST: self.secrets[f"{GUEST}_password"]})
        for name, statements in (
            ("metering", WITNESS + (self._bug.metering_sql if self._bug else "")),
            ("activity", self._bug.activity_sql if self._bug else ""),
        ):
            if statements:
                with psycopg.connect(self.dsns[name], autocommit=True) as connection:
                    connection.execute(statements.encode())

    async def wire(self) -> Mapping[str, str]:
        """Start the links; services are led through them, unless they are to go directly."""
        environments = self.describe_services({})
        metering_port = environments["metering"].port
        self.tape = RequestTape(metering_port)
        self.links = {
            link.name: link
            for link in (
                FaultyLink("clients-activity-1", environments["activity-1"].port),
                FaultyLink("clients-activity-2", environments["activity-2"].port),
                FaultyLink("activity-metering", metering_port, self.tape.listen),
                FaultyLink("activity-postgres", self.postgres.port),
                FaultyLink("llm-metering", metering_port, self.tape.listen),
                FaultyLink("llm-postgres", self.postgres.port),
                FaultyLink("metering-postgres", self.postgres.port),
                FaultyLink("metering-redis", self.redis.port),
            )
        }
        for link in self.links.values():
            await link.start()
        if not self._goes_through_links:
            return {}
        return {
            "ACTIVITY_METERING_URL": f"http://{LOOPBACK}:{self.links['activity-metering'].port}",
            "ACTIVITY_POSTGRES_DSN": _through(self.dsns["activity"], self.links["activity-postgres"]),
            "METERING_POSTGRES_DSN": _through(self.dsns["metering"], self.links["metering-postgres"]),
            "METERING_REDIS_URL": _through(self.redis.url, self.links["metering-redis"]),
        }


def _through(url: str, link: FaultyLink) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{LOOPBACK}:{link.port}"))


def _mount_small_disk(directory: Path) -> bool:
    """Give `directory` a small file system of its own; False where we may not, and then no disk will be full."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_SIZE},mode=0755", "tmpfs", str(directory)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _unmount(directory: Path) -> None:
    subprocess.run(["umount", "--lazy", directory], check=False)
