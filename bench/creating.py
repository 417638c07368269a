"""The product that creates plan plays and bills them, under load; for the questions that compare it."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg

from bench.errors import BenchError
from bench.open_loop import Plan, run_open_loop
from bench.peers.start import (
    check_same_work_databases,
    check_usage_database,
    fill_same_work_databases,
    start_same_work,
)
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


class Creates:
    """A side that creates plays for clients, under load. `drain` waits for what it does after its answers."""

    def __init__(
        self, servers: list[Server], headers: Sequence[str], *, to_analyze: Sequence[str] = (), **parameters: object
    ) -> None:
        """`headers` are lines that name each client, and `parameters` tell wrk's script the same.

        The databases `to_analyze` are, after the warm-up, as autovacuum would within a minute: until then, plans are
        those for an empty table.
        """
        self.servers = servers
        """Whose processor time a create costs. The first takes the requests."""
        self.tally = Tally()
        self.drains: list[float] = []
        """For each run, the seconds from the end of the load to the last charge."""
        self._headers, self._parameters, self._to_analyze = headers, parameters, to_analyze

    def load(self, connections: int, seconds: int) -> Load:
        """Create for so many seconds. The time until all of it is charged, too, counts as the run's."""
        parameters = {**self._parameters, "seed": fresh_seed()}
        url = self.servers[0].url
        load = run_wrk(url, "create", seconds=seconds, connections=connections, parameters=parameters)
        self.tally.count(load, connections)
        self.drains.append(self.drain())
        for dsn in self._to_analyze:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("ANALYZE")
        self._to_analyze = ()
        return replace(load, seconds=load.seconds + self.drains[-1])

    def load_at(self, rate: float, seconds: int) -> Load:
        """Create at a constant rate; a latency counts from when its request was to be sent."""
        port = int(self.servers[0].url.rpartition(":")[2])
        load = run_open_loop(Plan(port, rate, seconds, self._headers))
        self.tally.count(load, load.broken)
        self.drain()
        return load

    def drain(self) -> float:
        """Wait until every play is charged, and answer how many seconds that took. Raises BenchError."""
        return 0.0

    def check(self) -> list[str]:
        """Hold what is kept against what was acknowledged, and against itself; answer what is wrong."""
        raise NotImplementedError


class MeteredCreates(Creates):
    """All three services on one core, as the peers' one process has it, and clients with tokens and credits."""

    def __init__(
        self, stage: Stage, clients: int, *, workers: int = 1, activity: Sequence[str] | None = None
    ) -> None:
        """Start them, by so many processes of each; register clients, get each a token, grant credits.

        By `activity`, a program of the bench's own in the activity service's place.
        """
        self.product: Product = stage.start_product(
            *("catalog", "metering", "activity"),
            variables={f"{service}_WORKERS": str(workers) for service in ("METERING", "ACTIVITY")},
            commands={"activity": activity} if activity else None,
        )
        self.clients = clients
        names = name_clients(clients)
        self.product.grant_credits(names)
        self.tokens = issue_tokens(self.product, names)
        # The catalog has no part in a create.
        servers = [self.product.servers["activity"], self.product.servers["metering"]]
        # Of its own: each catalog has signed its own.
        self.token_file: Path = stage.directory / f"tokens-{servers[0].pid}"
        self.token_file.write_text("\n".join(self.tokens) + "\n")
        super().__init__(servers, as_headers(self.tokens), tokens=self.token_file, clients=clients)

    def drain(self) -> float:
        """Wait until every play is charged, and answer how many seconds that took. Raises BenchError."""
        return _wait_for_none(self.product.environments["activity"].dsn, COUNT_UNSETTLED)

    def count_plays(self) -> int:
        """Return how many plays there are; as many charges, once they have drained."""
        return count_rows(self.product.environments["activity"].dsn, "SELECT count(*) FROM plan_play")

    def check(self) -> list[str]:
        """Hold plays against what was acknowledged, and by both audits every play against its charge."""
        plays = self.count_plays()
        charges = count_rows(
            self.product.environments["metering"].dsn, "SELECT count(*) FROM ledger_entry WHERE kind = 'spend'"
        )
        faults = self.product.audit("metering", "activity") + self.tally.check(plays, "plays")
        if plays != charges:
            faults.append(f"{plays} plays, {charges} charges")
        return faults


class PeerCreates(Creates):
    """One peer with a database like `usage.sql`, under the same load."""

    def __init__(self, server: Server, dsn: str, clients: int) -> None:
        headers = [f"X-Client-Id: {client}" for client in name_clients(clients)]
        super().__init__([server], headers, to_analyze=[dsn], clients=clients)
        self._dsn = dsn

    def check(self) -> list[str]:
        """Hold its rows against what was acknowledged, and its balances against its rows."""
        rows = count_rows(self._dsn, "SELECT count(*) FROM usage")
        return check_usage_database(self._dsn) + self.tally.check(rows, f"{self.servers[0].name} requests")


class SameWorkCreates(Creates):
    """The two Node.js services that do the same work, under the load and with the tokens of `ours`."""

    def __init__(self, stage: Stage, ours: MeteredCreates) -> None:
        """Start them on databases of their own."""
        self._metering, self._activity = dsns = fill_same_work_databases(stage, name_clients(ours.clients))
        jwks_url = f"{ours.product.url('catalog')}/.well-known/jwks.json"
        servers = start_same_work(stage, *dsns, jwks_url)
        super().__init__(
            servers, as_headers(ours.tokens), to_analyze=dsns, tokens=ours.token_file, clients=ours.clients
        )

    def drain(self) -> float:
        """Wait until every play is charged, as ours."""
        return _wait_for_none(self._activity, "SELECT count(*) FROM outbox")

    def check(self) -> list[str]:
        """Hold its plays against what was acknowledged, and its charges against its plays."""
        plays = count_rows(self._activity, "SELECT count(*) FROM plan_play")
        return check_same_work_databases(self._metering, self._activity) + self.tally.check(
            plays, "plays of the peer"
        )


def as_headers(tokens: Sequence[str]) -> list[str]:
    """Return the line of each token in a request's head."""
    return [f"Authorization: Bearer {token}" for token in tokens]


def _wait_for_none(dsn: str, query: str) -> float:
    """Wait until a count of ours is 0, and answer how many seconds that took. Raises BenchError."""
    begun = time.monotonic()
    with psycopg.connect(dsn, autocommit=True) as connection:
        while (row := connection.execute(query.encode()).fetchone()) and row[0]:
            if time.monotonic() - begun > DRAIN_TIMEOUT_SECONDS:
                raise BenchError(f"{row[0]} plays were still not charged after {DRAIN_TIMEOUT_SECONDS:g} s")
            time.sleep(DRAIN_POLL_SECONDS)
    return time.monotonic() - begun


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
