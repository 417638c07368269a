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
from typing import Any, NamedTuple

import redis.exceptions
from redis.asyncio.connection import Connection, ConnectionPool

from metering_service.metrics import MeteringMetrics
from metering_service.policies.policy import PolicyVersion, Rate
from metering_service.rates.cluster import RateCluster
from metering_service.rates.connections import (
    CONNECT_TIMEOUT_SECONDS,
    NOT_LET_IN,
    RECONNECT_PAUSE_SECONDS,
    SERVER_FAULTS,
    KeptConnections,
    ScriptCall,
    run_script,
)
from metering_service.rates.outage import Outage
from service_chassis.settings import InvalidSettings

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


_Asked = list[tuple[int, Request, Sequence[Rate]]]
"""Requests that one call of the script decides about, with the rates that apply and their place among all."""


def _as_call(asked: _Asked, *, is_dry: bool) -> ScriptCall:
    buckets: dict[str, tuple[int, Rate]] = {}
    of_requests: list[int] = []
    for _, request, rates in asked:
        of_requests.append(len(rates))
        for rate in rates:
            place, _ = buckets.setdefault(rate_key(request, rate), (len(buckets) + 1, rate))
            of_requests.append(place)
    arguments: list[Any] = [int(not is_dry)]
    for _, rate in buckets.values():
        arguments += rate.as_script_arguments
    return ScriptCall(list(buckets), arguments + of_requests)


def _read(numbers: list[int], asked: _Asked, outcomes: list[RateOutcome]) -> None:
    """Put what the script returned into `outcomes`, by the requests' place among all."""
    position = 0
    for index, _, rates in asked:
        end = position + 1 + len(rates)
        outcomes[index] = RateOutcome(numbers[position + 1 : end], numbers[position])
        position = end


class RateLimiter:
    """Takes a place for each request of a batch, in one call to each server, over connections that are kept open.

    Whether the URL's server is one of a cluster is asked once: it stays the kind that it is.
    """

    def __init__(self, url: str, *, timeout_seconds: float, metrics: MeteringMetrics) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._outage = Outage(metrics)
        self._server: KeptConnections | RateCluster | None = None
        self._unchecked = metrics.unchecked_rates

    async def connect(self) -> None:
        """Open the connections; a server that is away now is tried again and again.

        Raises InvalidSettings for one that does not let us in, which waiting does not change.
        """
        try:
            await self._find_server()
        except NOT_LET_IN as error:
            is_known = isinstance(error, redis.exceptions.NoPermissionError)
            why = "its user may not do what rates need" if is_known else "its user or password is not accepted"
            raise InvalidSettings(f"METERING_REDIS_URL: {why}") from None
        except SERVER_FAULTS as error:
            self._outage.begin(error)
            self._outage.mend(self._find_until_there())

    async def take(self, requests: Sequence[Request], *, is_dry: bool = False) -> list[RateOutcome]:
        """Take a place for each request in all of its rates, or in none of them; return outcomes in order.

        Dry, it only looks. Never raises for Redis' sake: without it, within the timeout, everything passes and is
        counted.
        """
        outcomes = [PASSED] * len(requests)
        server = self._server
        by_client = isinstance(server, RateCluster)
        calls: dict[str, _Asked] = {}
        for index, request in enumerate(requests):
            if rates := request.version.policy.rates_of(request.event_type):
                calls.setdefault(request.client_id if by_client else "", []).append((index, request, rates))
        if not calls:
            return outcomes
        asked = [_as_call(each, is_dry=is_dry) for each in calls.values()]
        answers: Sequence[list[int] | None] = [None]
        if isinstance(server, RateCluster):
            answers = await server.ask(asked)
        elif server is not None:
            until = asyncio.get_running_loop().time() + self._timeout_seconds
            answers = [await server.use(partial(run_script, asked=asked[0]), until)]
        for each, numbers in zip(calls.values(), answers, strict=True):
            if numbers is None:
                self._unchecked.inc(len(each))
            else:
                _read(numbers, each, outcomes)
        return outcomes

    async def _find_server(self) -> None:
        factory = ConnectionPool.from_url(
            self._url, socket_connect_timeout=CONNECT_TIMEOUT_SECONDS, socket_timeout=None
        )
        connections = KeptConnections(factory, _prove, self._outage, prove_seconds=self._timeout_seconds)
        information = await connections.ask_apart("INFO", "server")
        server: KeptConnections | RateCluster = connections
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
