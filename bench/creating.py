"""The product that creates plan plays and bills them, under load; for the questions that compare it."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg

from bench.errors import BenchError
from bench.processes import Server
from bench.product import SEEDING_THREADS, Product, send
from bench.stage import Stage, fresh_seed, name_clients
from bench.tally import Tally, count_rows
from bench.wrk import Load, run_wrk
from catalog_service.clients.register import RegisterClients
from service_chassis.database.pool import open_pool

DRAIN_TIMEOUT_SECONDS = 60.0
DRAIN_POLL_SECONDS = 0.02
COUNT_UNSETTLED = """SELECT count(*) FROM billable_event
    WHERE outcome = 'happened' AND parked_at IS NULL"""


class MeteredCreates:
    """All three services on one core, as the peers' one process has it, and clients with tokens and credits."""

    def __init__(self, stage: Stage, clients: int, *, workers: int = 1) -> None:
        """Start them, by so many processes of each; register clients, get each a token, grant credits."""
        variables = {f"{service}_WORKERS": str(workers) for service in ("METERING", "ACTIVITY")}
        self.product: Product = stage.start_product("catalog", "metering", "activity", variables=variables)
        self.clients = clients
        self.tally = Tally()
        self.drains: list[float] = []
        """For each run, the seconds from the end of the load to the last charge."""
        names = name_clients(clients)
        self.product.grant_credits(names)
        self.tokens = issue_tokens(self.product, names)
        # Of its own: each catalog has signed its own.
        self.token_file: Path = stage.directory / f"tokens-{self.servers[0].pid}"
        self.token_file.write_text("\n".join(self.tokens) + "\n")

    @property
    def servers(self) -> list[Server]:
        """Whose processor time a create costs. The catalog has no part in one."""
        return [self.product.servers["activity"], self.product.servers["metering"]]

    def load(self, connections: int, seconds: int) -> Load:
        """Create for so many seconds. The time until all of it is charged, too, counts as the run's."""
        parameters = {"tokens": self.token_file, "clients": self.clients, "seed": fresh_seed()}
        load = run_wrk(
            self.product.url("activity"), "create", seconds=seconds, connections=connections, parameters=parameters
        )
        self.tally.count(load, connections)
        self.drains.append(self.drain())
        return replace(load, seconds=load.seconds + self.drains[-1])

    def drain(self) -> float:
        """Wait until every play is charged, and answer how many seconds that took. Raises BenchError."""
        begun = time.monotonic()
        with psycopg.connect(self.product.environments["activity"].dsn, autocommit=True) as connection:
            while (row := connection.execute(COUNT_UNSETTLED).fetchone()) and row[0]:
                if time.monotonic() - begun > DRAIN_TIMEOUT_SECONDS:
                    raise BenchError(f"{row[0]} plays were still not charged after {DRAIN_TIMEOUT_SECONDS:g} s")
                time.sleep(DRAIN_POLL_SECONDS)
        return time.monotonic() - begun

    def check(self) -> list[str]:
        """Hold plays against what was acknowledged, and by both audits every play against its charge."""
        plays = count_rows(self.product.environments["activity"].dsn, "SELECT count(*) FROM plan_play")
        charges = count_rows(
            self.product.environments["metering"].dsn, "SELECT count(*) FROM ledger_entry WHERE kind = 'spend'"
        )
        faults = self.product.audit("metering", "activity") + self.tally.check(plays, "plays")
        if plays != charges:
            faults.append(f"{plays} plays, {charges} charges")
        return faults


class PeerCreates:
    """One peer with a database like `usage.sql`, under the same load."""

    def __init__(self, server: Server, dsn: str, clients: int) -> None:
        self.server, self._dsn, self._clients = server, dsn, clients
        self.tally = Tally()
        self._is_warm = False

    def load(self, connections: int, seconds: int) -> Load:
        """Create for so many seconds."""
        parameters = {"clients": self._clients, "seed": fresh_seed()}
        load = run_wrk(self.server.url, "create", seconds=seconds, connections=connections, parameters=parameters)
        if not self._is_warm:
            self._is_warm = True
            self._analyze()
        return self.tally.count(load, connections)

    def _analyze(self) -> None:
        """Do what autovacuum would within a minute: until then, plans are those for an empty table."""
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute("ANALYZE")

    def check(self) -> list[str]:
        """Hold its rows against what was acknowledged, and its balances against its rows."""
        from bench.peers.start import check_usage_database

        rows = count_rows(self._dsn, "SELECT count(*) FROM usage")
        return check_usage_database(self._dsn) + self.tally.check(rows, f"{self.server.name} requests")


class SameWorkCreates:
    """The two Node.js services that do the same work, under the load and with the tokens of `ours`."""

    def __init__(self, stage: Stage, ours: MeteredCreates) -> None:
        """Start them on databases of their own."""
        from bench.peers.start import fill_same_work_databases, start_same_work

        self._metering, self._activity = fill_same_work_databases(stage, name_clients(ours.clients))
        jwks_url = f"{ours.product.url('catalog')}/.well-known/jwks.json"
        self.servers = start_same_work(stage, self._metering, self._activity, jwks_url)
        self._ours = ours
        self.tally = Tally()
        self._is_warm = False

    def load(self, connections: int, seconds: int) -> Load:
        """Create for so many seconds, and until all of it is charged, as ours."""
        parameters = {"tokens": self._ours.token_file, "clients": self._ours.clients, "seed": fresh_seed()}
        url = self.servers[0].url
        load = run_wrk(url, "create", seconds=seconds, connections=connections, parameters=parameters)
        begun = time.monotonic()
        with psycopg.connect(self._activity, autocommit=True) as connection:
            while (row := connection.execute("SELECT count(*) FROM outbox").fetchone()) and row[0]:
                if time.monotonic() - begun > DRAIN_TIMEOUT_SECONDS:
                    raise BenchError(f"{row[0]} plays of the peer were not charged after {DRAIN_TIMEOUT_SECONDS:g} s")
                time.sleep(DRAIN_POLL_SECONDS)
        drained = time.monotonic() - begun
        if not self._is_warm:
            self._is_warm = True
            for dsn in (self._metering, self._activity):
                with psycopg.connect(dsn, autocommit=True) as connection:
                    connection.execute("ANALYZE")
        self.tally.count(load, connections)
        return replace(load, seconds=load.seconds + drained)

    def check(self) -> list[str]:
        """Hold its plays against what was acknowledged, and its charges against its plays."""
        from bench.peers.start import check_same_work_databases

        plays = count_rows(self._activity, "SELECT count(*) FROM plan_play")
        return check_same_work_databases(self._metering, self._activity) + self.tally.check(
            plays, "plays of the peer"
        )


def issue_tokens(product: Product, clients: list[str]) -> list[str]:
    """Register clients at the catalog, as its own command does, and get a token for each, in order."""
    secrets = asyncio.run(_register(product.environments["catalog"].dsn, clients))
    url = f"{product.url('catalog')}/generate-client-auth-token"

    def issue(client: str, secret: str) -> str:
        body = {"client_id": client, "client_secret": secret, "fingerprint": "bench"}
        token: str = send("POST", url, body)["data"]["access_token"]
        return token

    with ThreadPoolExecutor(SEEDING_THREADS) as pool:
        return list(pool.map(issue, clients, secrets))


async def _register(dsn: str, clients: list[str]) -> list[str]:
    async with open_pool(dsn, size=4, application_name="bench") as pool:
        register = RegisterClients(pool).register
        registered = [await register(client, name=client, actor="bench") for client in clients]
    return [secret.client_secret for _, secret in registered]
