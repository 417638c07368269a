"""What questions are asked on: own PostgreSQL and Valkey, and the product or peers beside them, on free ports."""

import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import redis

from bench.cores import LOAD_CORE, cpu_seconds, on_core
from bench.errors import BenchError
from bench.processes import Server
from bench.question import Finding, Run
from bench.wrk import Load
from local_stack.ports import LOOPBACK, choose_free_block, choose_free_port
from local_stack.processes import REPOSITORY
from local_stack.servers import Database, PostgresServer, RedisServer, create_databases
from local_stack.service_environment import ServiceEnvironment, build_environments
from local_stack.state_directory import SECRET_NAMES
from local_stack.topology import HEALTH_PATH, PORT_BLOCK, SERVICES

POLICY = {
    "rate": {"limit": 1_000_000, "periodSeconds": 1, "burst": 1_000_000},
    "quota": None,
    "prices": {"plan_play.created": 1, "plan_play.completed": 1},
    "credits": "prepaid",
    "mode": "enforce",
}
"""Both gates are passed in earnest and neither refuses: the peers check a rate and debit credits, too."""
CREDITS = 10**12
SEEDING_THREADS = 8
SEND_TIMEOUT_SECONDS = 30.0

VARIABLES = {
    "CATALOG_LOG_LEVEL": "warning",
    "ACTIVITY_LOG_LEVEL": "warning",
    "METERING_LOG_LEVEL": "warning",
    "CATALOG_TOKEN_LIFETIME_SECONDS": "86400",
    "METERING_DEFAULT_POLICY": "bench",
}
"""No line per request: the peers write none either."""


def send(method: str, url: str, body: Any = None, *, bearer: str | None = None) -> Any:
    """Send one request and answer the JSON that comes back. Raises BenchError for anything but success."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=SEND_TIMEOUT_SECONDS) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        raise BenchError(f"{method} {url} was answered {error.code}: {error.read(500)!r}") from error
    except OSError as error:
        raise BenchError(f"{method} {url}: {error}") from error


@dataclass(frozen=True)
class Product:
    """The services of one question, on databases of their own."""

    environments: Mapping[str, ServiceEnvironment]
    servers: Mapping[str, Server]
    secrets: Mapping[str, str]
    directory: Path

    def url(self, service: str) -> str:
        """Where a service is."""
        return self.environments[service].url

    @property
    def events_key(self) -> str:
        """Metering's key for events."""
        return self.secrets["events_key"]

    @property
    def admin_key(self) -> str:
        """Metering's key for operators."""
        return self.secrets["admin_key"]

    def grant_credits(self, clients: Sequence[str]) -> None:
        """Give clients the bench's policy, by its being the default, and credits that do not end."""
        url = self.url("metering")
        send("PUT", f"{url}/internal/policies/bench", POLICY, bearer=self.admin_key)

        def grant(client: str) -> None:
            body = {"grantId": f"bench-{client}", "credits": CREDITS}
            send("POST", f"{url}/internal/clients/{client}/grants", body, bearer=self.admin_key)

        with ThreadPoolExecutor(SEEDING_THREADS) as pool:
            list(pool.map(grant, clients))

    def audit(self, *services: str) -> list[str]:
        """Run the services' own audits; answer what they find, [] when all is sound.

        With `activity`, every play is held against its charge.
        """
        key_file = self.directory / "admin.key"
        key_file.write_text(self.admin_key)
        faults = []
        for service in services:
            arguments = {
                # Holds of authorizations without a fact are nobody's to resolve here.
                "metering": ["--unresolved-after-seconds", "1e9"],
                "activity": [
                    *("--metering-url", self.url("metering"), "--metering-key-file", str(key_file)),
                    *("--in-flight-seconds", "0"),
                ],
            }[service]
            done = self.command(service, "audit", *arguments)
            if done.returncode != 0:
                faults.append(f"{service}'s audit failed: {(done.stdout + done.stderr).strip()[-800:]}")
        return faults

    def command(self, service: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of a service's own commands with its settings."""
        return run_command(self.environments[service], *arguments)


def run_command(environment: ServiceEnvironment, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of a service's own commands to its end."""
    return subprocess.run(
        environment.service.command(*arguments),
        env={**os.environ, **environment.variables},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


class Stage:
    """The servers under all questions, and what one question starts on them; `clear` ends the latter."""

    def __init__(self, directory: Path) -> None:
        """Start the servers, fsync on, on the core of the load. Raises StackError."""
        self.directory = directory
        self._whole, self._question = ExitStack(), ExitStack()
        self._number = 0
        self._secrets = {name: secrets.token_urlsafe(18) for name in SECRET_NAMES}
        for name in ("postgres", "redis", "logs"):
            (directory / name).mkdir()
        self.postgres = PostgresServer(
            directory / "postgres",
            choose_free_port(),
            self._secrets["postgres_password"],
            directory / "logs" / "postgres.log",
            settings={"max_wal_size": "4GB", "shared_buffers": "256MB", "max_connections": "300"},
        )
        self.redis = RedisServer(
            directory / "redis",
            choose_free_port(),
            self._secrets["redis_password"],
            directory / "logs" / "redis.log",
        )
        with on_core(LOAD_CORE):
            self.postgres.start()
            self._whole.callback(self.postgres.stop)
            self.redis.start()
            self._whole.callback(self.redis.stop)

    def close(self) -> None:
        """Stop everything."""
        self.clear()
        self._whole.close()

    def clear(self) -> None:
        """Stop what the question started."""
        self._question.close()
        self._question = ExitStack()
        with redis.Redis.from_url(self.redis.url) as client:
            client.flushdb()

    def create_database(self, name: str) -> str:
        """Make an empty database, its name beginning with `name`, and answer its URL, the superuser's."""
        name = f"{name}_{secrets.token_hex(4)}"
        create_databases(self.postgres.dsn(), [Database(name)])
        return self.postgres.dsn(name)

    def start_product(
        self,
        *services: str,
        variables: Mapping[str, str] | None = None,
        commands: Mapping[str, Sequence[str]] | None = None,
    ) -> Product:
        """Start services on new databases, ready when this returns; each on the core of what is measured.

        `variables` are added to their settings. `commands` replaces the command line of a service, for a launcher of
        the bench's own.
        """
        self._number += 1
        dsns = {each.name: self.create_database(each.name) for each in SERVICES}
        overrides = {**VARIABLES, **(variables or {})}
        base = choose_free_block(PORT_BLOCK)
        environments = build_environments(base, dsns, self.redis.url, self._secrets, overrides)
        for name in services:
            done = run_command(environments[name], "migrate")
            if done.returncode != 0:
                raise BenchError(f"{name} could not be migrated: {done.stderr}")
        with psycopg.connect(self.postgres.dsn(), autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        servers: dict[str, Server] = {}
        for service in SERVICES:
            if (name := service.name) not in services:
                continue
            environment = environments[name]
            servers[name] = self.start(
                name,
                (commands or {}).get(name) or service.command("serve"),
                url=environment.url,
                environment=environment.variables,
                ready_url=environment.operations_url + HEALTH_PATH,
            )
        return Product(environments, servers, self._secrets, self.directory)

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        url: str,
        environment: Mapping[str, str] | None = None,
        ready_url: str | None = None,
        directory: Path = REPOSITORY,
    ) -> Server:
        """Start a server that the question's end stops; it is ready when this returns."""
        self._number += 1
        server = Server(
            name,
            command,
            self.directory / "logs" / f"{name}-{self._number}.log",
            url=url,
            environment=environment,
            ready_url=ready_url,
            directory=directory,
        )
        self._question.callback(server.stop)
        server.wait_until_ready()
        return server

    def start_peer(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Server:
        """Start `python -m bench.peers.MODULE PORT ARGUMENTS...` with this interpreter."""
        port = choose_free_port()
        command = [sys.executable, "-m", f"bench.peers.{module}", str(port), *arguments]
        return self.start(module, command, url=f"http://{LOOPBACK}:{port}", environment=environment)

    def database_cpu_seconds(self) -> float:
        """Answer what PostgreSQL and Valkey have used so far."""
        return cpu_seconds(self.postgres.process.pid, self.redis.process.pid)

    def measure(
        self, finding: Finding, servers: Sequence[Server], load: Callable[[int], Load], *, things_a_request: int = 1
    ) -> Callable[[int], Run]:
        """Make a side for `rounds.interleave` of a `load` that takes seconds; refusals become faults of `finding`."""

        def measure(seconds: int) -> Run:
            before, database_before = cpu_seconds(*[each.pid for each in servers]), self.database_cpu_seconds()
            seen = load(seconds)
            used = cpu_seconds(*[each.pid for each in servers]) - before
            database_used = self.database_cpu_seconds() - database_before
            if seen.refused or seen.broken:
                name = servers[0].name if servers else "load"
                finding.faults.append(f"{name}: {seen.refused} refused, {seen.broken} broken of {seen.requests}")
            things = max(seen.requests * things_a_request, 1)
            return Run(things / seen.seconds, used / things, database_used / things, seen.p50, seen.p99)

        return measure


def fresh_seed() -> int:
    """Answer what makes the ids of one run of load its own."""
    return secrets.randbelow(2**31 - 1)


def name_clients(count: int) -> list[str]:
    """Answer the ids of clients as the scripts of `lua` choose them."""
    return [f"client-{number}" for number in range(1, count + 1)]
