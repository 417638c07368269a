"""Request rates, in Redis: fast, shared by all processes, and not worth a denial when it is away (fail open).

Races: the script runs alone on the server, so two requests never take the same place. Not closed: a
request that is then denied by quota or credits has used its place; a server that loses its memory (restart,
FLUSHALL, failover) starts every rate anew, full. Nothing but rates is kept here.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha1
from pathlib import Path
from typing import Any, NamedTuple

import redis.exceptions
import structlog
from redis.asyncio.connection import Connection, ConnectionPool

from metering_service.errors import ClusterRefused
from metering_service.metrics import MeteringMetrics
from metering_service.policies.policy import PolicyVersion, Rate
from service_chassis.operations.logging import list_kinds, log_fault

_SCRIPT = (Path(__file__).parent / "gcra.lua").read_text()
_SHA1 = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
CONNECTIONS = 2
"""As many as there are batches in flight: each batch has one for itself, and none waits."""
CONNECT_TIMEOUT_SECONDS = 2.0
RECONNECT_PAUSE_SECONDS = 0.2
"""Between two attempts at a connection. Requests pass unchecked meanwhile, and wait for none of it."""
_PROBE_KEY = "rate:probe"
_PROBE = (1, *Rate("probe", limit=1_000_000, period_seconds=1, burst=1_000_000).as_script_arguments, 1, 1)
"""One request in a bucket that is never empty, so that it is always written; it expires after a second."""

_log = structlog.get_logger(__name__)


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


class RateLimiter:
    """Takes a place for each request of a batch, in one call over a connection that is kept open.

    Connections are opened beside the requests, names resolved anew each time: whatever a server that is away, was
    demoted or moved makes of one, a request waits `timeout_seconds` for its answer at the most, and then no other
    does.
    """

    def __init__(self, url: str, *, timeout_seconds: float, metrics: MeteringMetrics) -> None:
        self._timeout_seconds = timeout_seconds
        # Used for what it makes of the URL: its connections are made one by one, and not lent.
        self._factory = ConnectionPool.from_url(
            url, socket_connect_timeout=CONNECT_TIMEOUT_SECONDS, socket_timeout=None
        )
        self._idle: list[Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._failing_since: float | None = None
        self._told: set[tuple[str, ...]] = set()
        self._unchecked = metrics.unchecked_rates
        self._failing_open = metrics.rates_failing_open

    async def connect(self) -> None:
        """Open the connections; a server that is away now is tried again and again. Raises ClusterRefused."""
        for _ in range(CONNECTIONS):
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                    self._idle.append(await self._open())
            except (redis.exceptions.RedisError, OSError) as error:
                self._fail_open(error)
                self._open_soon()

    async def take(self, requests: Sequence[Request], *, is_dry: bool = False) -> list[RateOutcome]:
        """Take a place for each request in all of its rates, or in none of them; return outcomes in order.

        Dry, it only looks. Never raises for Redis' sake: without it, within the timeout, everything passes and is
        counted.
        """
        outcomes = [PASSED] * len(requests)
        buckets: dict[str, tuple[int, Rate]] = {}
        asked: list[tuple[int, list[int]]] = []
        for index, request in enumerate(requests):
            places = []
            for rate in request.version.policy.rates_of(request.event_type):
                place, _ = buckets.setdefault(rate_key(request, rate), (len(buckets) + 1, rate))
                places.append(place)
            if places:
                asked.append((index, places))
        if not asked:
            return outcomes
        arguments: list[Any] = [int(not is_dry)]
        for _, rate in buckets.values():
            arguments += rate.as_script_arguments
        for _, places in asked:
            arguments += (len(places), *places)
        numbers = await self._ask(list(buckets), arguments)
        if numbers is None:
            self._unchecked.inc(len(asked))
            return outcomes
        position = 0
        for index, places in asked:
            end = position + 1 + len(places)
            outcomes[index] = RateOutcome(numbers[position + 1 : end], numbers[position])
            position = end
        return outcomes

    async def _ask(self, keys: Sequence[str], arguments: Sequence[Any]) -> list[int] | None:
        """Return what the script returns; None without a server."""
        if not self._idle:
            return None
        connection = self._idle.pop()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                numbers = await self._run_script(connection, keys, arguments)
        except BaseException as error:
            # Whatever it was, READONLY of a demoted server or silence: the next one may be another server.
            await self._drop(connection)
            self._open_soon()
            if not isinstance(error, redis.exceptions.RedisError | OSError):
                raise
            self._fail_open(error)
            return None
        self._idle.append(connection)
        return numbers

    async def _run_script(self, connection: Connection, keys: Sequence[str], arguments: Sequence[Any]) -> list[int]:
        numbers: list[int]
        with suppress(redis.exceptions.NoScriptError):
            numbers = await self._call(connection, "EVALSHA", _SHA1, len(keys), *keys, *arguments)
            return numbers
        numbers = await self._call(connection, "EVAL", _SCRIPT, len(keys), *keys, *arguments)
        return numbers

    async def _call(self, connection: Connection, *command: Any) -> Any:
        await connection.send_command(*command, check_health=False)
        return await connection.read_response()

    async def _open(self) -> Connection:
        connection: Connection = self._factory.make_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            information = await self._call(connection, "INFO", "server")
            # Valkey says server_mode where it is not asked to speak as Redis.
            if b"redis_mode:cluster" in information or b"server_mode:cluster" in information:
                raise ClusterRefused
            # A replica answers all else: that it takes places is proven only by what a request will do.
            async with asyncio.timeout(self._timeout_seconds):
                await self._run_script(connection, [_PROBE_KEY], _PROBE)
        except BaseException:
            await self._drop(connection)
            raise
        return connection

    def _open_soon(self) -> None:
        if self._is_closed:
            return
        task = asyncio.create_task(self._open_again())
        self._opening.add(task)
        task.add_done_callback(self._end_opening)

    def _end_opening(self, task: asyncio.Task[None]) -> None:
        """Say that rates are checked again once no connection is missing, whether idle or in use."""
        self._opening.discard(task)
        if self._opening or self._is_closed or self._failing_since is None:
            return
        seconds = asyncio.get_running_loop().time() - self._failing_since
        self._failing_since = None
        self._told.clear()
        self._failing_open.set(0)
        _log.info("rates_checked_again", after_seconds=round(seconds, 1))

    async def _open_again(self) -> None:
        """Try until there is a connection."""
        while True:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                    connection = await self._open()
                break
            except (redis.exceptions.RedisError, OSError, ClusterRefused) as error:
                self._fail_open(error)
            await asyncio.sleep(RECONNECT_PAUSE_SECONDS)
        self._idle.append(connection)

    def _fail_open(self, error: BaseException) -> None:
        """Say why requests pass unchecked from now on, and each further reason once."""
        if self._failing_since is None:
            self._failing_since = asyncio.get_running_loop().time()
            self._failing_open.set_to_current_time()
        kinds = tuple(list_kinds(error))
        if kinds not in self._told:
            self._told.add(kinds)
            log_fault("rates_fail_open", error, variable="METERING_REDIS_URL")

    async def _drop(self, connection: Connection) -> None:
        with suppress(redis.exceptions.RedisError, OSError):
            await connection.disconnect(nowait=True)

    async def aclose(self) -> None:
        """Close all connections."""
        self._is_closed = True
        for task in tuple(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        while self._idle:
            await self._drop(self._idle.pop())


def rate_key(request: Request, rate: Rate) -> str:
    """Return a bucket's name. The hash tag keeps a client's keys on one node; a new version has new buckets."""
    version = request.version
    whose = ""
    if rate.per == "user":
        # A hash only: the name may stay for days, and nobody who is erased elsewhere is looked for here.
        whose = ":" + sha1((request.user_id or "").encode(), usedforsecurity=False).hexdigest()
    return f"rate:{{{request.client_id}}}:{version.policy_id}:{version.version}:{rate.name}{whose}"
