"""Request rates, in Redis: fast, shared by all processes, and not worth a denial when it is away (fail open).

Races: the script runs alone on the server that has a client's buckets, so two requests never take the same place.
Not closed: a request that is then denied by quota or credits has used its place; a server that loses its memory
(restart, FLUSHALL, failover) starts every rate anew, full; while a slot of a cluster moves key by key, clients with
several buckets pass unchecked. Nothing but rates is kept here.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from hashlib import sha1
from typing import Any, NamedTuple, Protocol

from redis.asyncio.connection import Connection, ConnectionPool

from metering_service.metrics import MeteringMetrics
from metering_service.policies.policy import PolicyVersion, Rate
from metering_service.rates.cluster import RateCluster
from metering_service.rates.connections import (
    CONNECT_TIMEOUT_SECONDS,
    RECONNECT_PAUSE_SECONDS,
    SERVER_FAULTS,
    KeptConnections,
    ScriptCall,
    run_script,
)
from metering_service.rates.outage import Outage

_PROBE = ScriptCall(
    ["rate:probe"],
    (1, *Rate("probe", limit=1_000_000, period_seconds=1, burst=1_000_000).as_script_arguments, 1, 1),
)
"""One request in a bucket that is never empty, so that it is always written; it expires after a second."""


class RateOutcome(NamedTuple):
    """What the rates of a policy say of one request.

    `used_before` counts the burst in use of each rate that applies, in the policy's order; None when none applies,
    or no Redis was there to ask. `wait_seconds` is 0 when the request passes.
    """

    used_before: list[int] | None = None
    wait_seconds: int = 0


PASSED = RateOutcome()


class Request(NamedTuple):
    """Somebody who wants a place in each rate of a policy version that is about this type of event."""

    client_id: str
    user_id: str | None
    event_type: str
    version: PolicyVersion


class _Asked:
    """Requests that one call of the script decides about: all of them, or on a cluster those of one client."""

    __slots__ = ("_buckets", "_requests")

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[int, Rate]] = {}
        self._requests: list[tuple[int, list[int]]] = []

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, index: int, request: Request, rates: Sequence[Rate]) -> None:
        """Ask for a place in each of `rates` for the request of this index."""
        places = []
        for rate in rates:
            place, _ = self._buckets.setdefault(rate_key(request, rate), (len(self._buckets) + 1, rate))
            places.append(place)
        self._requests.append((index, places))

    def as_call(self, *, is_dry: bool) -> ScriptCall:
        """Return what the script is called with."""
        arguments: list[Any] = [int(not is_dry)]
        for _, rate in self._buckets.values():
            arguments += rate.as_script_arguments
        for _, places in self._requests:
            arguments += (len(places), *places)
        return ScriptCall(list(self._buckets), arguments)

    def read(self, numbers: list[int], outcomes: list[RateOutcome]) -> None:
        """Put what the script returned into `outcomes`, by the requests' indexes."""
        position = 0
        for index, places in self._requests:
            end = position + 1 + len(places)
            outcomes[index] = RateOutcome(numbers[position + 1 : end], numbers[position])
            position = end


class _Server(Protocol):
    """Where the buckets are; `by_client` says that a call may be about one client only."""

    @property
    def by_client(self) -> bool: ...

    async def ask(self, calls: Sequence[ScriptCall]) -> Sequence[list[int] | None]:
        """Return what the script returns of each call; None of those that nobody could be asked about."""

    async def connect(self) -> None:
        """Open the connections; a server that is away now is tried again and again."""

    async def aclose(self) -> None:
        """Close all connections."""


class _OneServer:
    """A server that is no cluster: all that is asked is one call."""

    by_client = False

    def __init__(self, connections: KeptConnections, timeout_seconds: float) -> None:
        self._connections = connections
        self._timeout_seconds = timeout_seconds
        self.connect = connections.connect
        self.aclose = connections.aclose

    async def ask(self, calls: Sequence[ScriptCall]) -> Sequence[list[int] | None]:
        """Return what the script returns of the one call; None without a server."""
        until = asyncio.get_running_loop().time() + self._timeout_seconds
        return [await self._connections.use(partial(run_script, asked=calls[0]), until)]


class RateLimiter:
    """Takes a place for each request of a batch, in one call to each server, over connections that are kept open.

    Whether the URL's server is one of a cluster is asked once: it stays the kind that it is.
    """

    def __init__(self, url: str, *, timeout_seconds: float, metrics: MeteringMetrics) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._outage = Outage(metrics)
        self._server: _Server | None = None
        self._unchecked = metrics.unchecked_rates

    async def connect(self) -> None:
        """Open the connections; a server that is away now is tried again and again."""
        try:
            await self._find_server()
        except SERVER_FAULTS as error:
            self._outage.begin(error)
            self._outage.mend(self._find_until_there())

    async def take(self, requests: Sequence[Request], *, is_dry: bool = False) -> list[RateOutcome]:
        """Take a place for each request in all of its rates, or in none of them; return outcomes in order.

        Dry, it only looks. Never raises for Redis' sake: without it, within the timeout, everything passes and is
        counted.
        """
        outcomes = [PASSED] * len(requests)
        by_client = self._server is not None and self._server.by_client
        asked: dict[str, _Asked] = {}
        for index, request in enumerate(requests):
            if rates := request.version.policy.rates_of(request.event_type):
                whose = request.client_id if by_client else ""
                if whose not in asked:
                    asked[whose] = _Asked()
                asked[whose].add(index, request, rates)
        if not asked:
            return outcomes
        calls = [each.as_call(is_dry=is_dry) for each in asked.values()]
        answers = [None] * len(calls) if self._server is None else await self._server.ask(calls)
        for each, numbers in zip(asked.values(), answers, strict=True):
            if numbers is None:
                self._unchecked.inc(len(each))
            else:
                each.read(numbers, outcomes)
        return outcomes

    async def _find_server(self) -> None:
        factory = ConnectionPool.from_url(
            self._url, socket_connect_timeout=CONNECT_TIMEOUT_SECONDS, socket_timeout=None
        )
        connections = KeptConnections(factory, _prove, self._outage, prove_seconds=self._timeout_seconds)
        information = await connections.ask_apart("INFO", "server")
        server: _Server = _OneServer(connections, self._timeout_seconds)
        # Valkey says server_mode where it is not asked to speak as Redis.
        if b"redis_mode:cluster" in information or b"server_mode:cluster" in information:
            server = RateCluster(factory, self._outage, timeout_seconds=self._timeout_seconds)
        await server.connect()
        self._server = server

    async def _find_until_there(self) -> None:
        while self._server is None:
            await asyncio.sleep(RECONNECT_PAUSE_SECONDS)
            try:
                await self._find_server()
            except SERVER_FAULTS as error:
                self._outage.begin(error)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._outage.aclose()
        if self._server is not None:
            await self._server.aclose()


async def _prove(connection: Connection) -> None:
    """Raise for a server that takes no places. A replica answers all else: only what a request will do proves it."""
    await run_script(connection, _PROBE)


def rate_key(request: Request, rate: Rate) -> str:
    """Return a bucket's name. The hash tag keeps a client's keys on one node; a new version has new buckets."""
    version = request.version
    # A tag ends at the first brace that closes, and must not be empty: two clients still never share a bucket.
    client_id = request.client_id.replace("}", "{}")
    whose = ""
    if rate.per == "user":
        # A hash only: the name may stay for days, and nobody who is erased elsewhere is looked for here.
        whose = ":" + sha1((request.user_id or "").encode(), usedforsecurity=False).hexdigest()
    return f"rate:{{{client_id}}}:{version.policy_id}:{version.version}:{rate.name}{whose}"
