"""What questions are asked on: own PostgreSQL and Valkey, and the product or peers beside them, on free ports."""

import json
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import psycopg
import redis

from bench.cores import LOAD_CORE, cpu_seconds, on_core
from bench.errors import BenchError
from bench.finding import Finding, Run
from bench.processes import Server
from bench.product import POLICY, VARIABLES, Product, run_command
from bench.wrk import Load
from local_stack.ports import LOOPBACK, choose_free_block, choose_free_port
from local_stack.processes import REPOSITORY
from local_stack.servers import PostgresServer, RedisServer, create_databases
from local_stack.service_environment import ServiceEnvironment, build_environments
from local_stack.state_directory import SECRET_NAMES
from local_stack.topology import HEALTH_PATH, PORT_BLOCK, SERVICES


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
        create_databases(self.postgres.dsn(), {name: None})
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
        if "metering" in services:
            self._put_policy(environments["metering"])
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

    def _put_policy(self, metering: ServiceEnvironment) -> None:
        """Make the policy that every client has by default; without it metering is not ready."""
        file = self.directory / "policy.json"
        file.write_text(json.dumps(POLICY))
        done = run_command(metering, "policies", "put", "bench", str(file))
        if done.returncode != 0:
            raise BenchError(f"the policy could not be made: {done.stderr}")

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
        """Return what PostgreSQL and Valkey have used so far."""
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
    """Return what makes the ids of one run of load its own."""
    return secrets.randbelow(2**31 - 1)


def name_clients(count: int) -> list[str]:
    """Return the ids of clients as the scripts of `lua` choose them."""
    return [f"client-{number}" for number in range(1, count + 1)]
