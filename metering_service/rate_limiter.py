"""Request rates, in Redis: fast, shared by all processes, and not worth a denial when it is away.

Races: the script runs alone on the server, so two requests never take the same place. Not closed: a
request that is then denied by quota or credits has used its place; a server that loses its memory (restart,
FLUSHALL, failover) starts every rate anew, full. Nothing but rates is kept here.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from metering_service.policy import PolicyVersion, Rate
from service_chassis.error_rendering import log_fault
from service_chassis.metrics import Metrics

_SCRIPT = (Path(__file__).parent / "gcra.lua").read_text()
_CONNECTIONS = 8
OPEN_SECONDS = 1.0
"""How long rates stay open after a failure before Redis is asked again: a frozen server must not cost every batch
its whole timeout."""


@dataclass(frozen=True, slots=True)
class RateOutcome:
    """What the rate says of one request.

    `used_before` counts the burst in use; None when there is no rate, or no Redis. `wait_microseconds` is 0
    when the request passes.
    """

    used_before: int | None = None
    wait_microseconds: int = 0


PASSED = RateOutcome()


class RateLimiter:
    """Takes a place for each request of a batch, in one call."""

    def __init__(self, url: str, *, timeout_seconds: float, metrics: Metrics) -> None:
        self._timeout_seconds = timeout_seconds
        # A pool that waits: redis-py's plain asynchronous pool raises when it is full.
        self._pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=timeout_seconds,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = redis.asyncio.Redis(connection_pool=self._pool)
        self._script = self._redis.register_script(_SCRIPT)
        self._closed_from = 0.0
        self._open_total = metrics.counter(
            "metering_rate_open", "Requests that passed without a rate check because Redis did not answer."
        )

    async def take(self, requests: Sequence[tuple[str, PolicyVersion]]) -> list[RateOutcome]:
        """Take a place for each (client id, policy version); answer outcomes in order.

        Never raises for Redis' sake: without it, within the timeout, everything passes and is counted.
        """
        outcomes = [PASSED] * len(requests)
        limited = [
            (index, client_id, version, version.policy.rate)
            for index, (client_id, version) in enumerate(requests)
            if version.policy.rate is not None
        ]
        if not limited:
            return outcomes
        keys = [rate_key(client_id, version) for _, client_id, version, _ in limited]
        arguments = [number for _, _, _, rate in limited for number in _arguments(rate)]
        for (index, _, _, _), answer in zip(limited, await self._ask(keys, arguments), strict=True):
            if answer is None:
                continue
            outcomes[index] = (
                RateOutcome(wait_microseconds=-answer) if answer < 0 else RateOutcome(used_before=answer)
            )
        return outcomes

    async def _ask(self, keys: list[str], arguments: list[int]) -> Sequence[int | None]:
        if time.monotonic() >= self._closed_from:
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    answers: list[int] = await self._script(keys=keys, args=arguments)
                    return answers
            except (redis.exceptions.RedisError, TimeoutError, OSError) as error:
                self._closed_from = time.monotonic() + OPEN_SECONDS
                log_fault("rates_open", error)
        self._open_total.inc(len(keys))
        return [None] * len(keys)

    async def check(self) -> None:
        """Raise unless Redis answers."""
        async with asyncio.timeout(self._timeout_seconds):
            await self._redis.ping()

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
        await self._pool.aclose()


def rate_key(client_id: str, version: PolicyVersion) -> str:
    """Name a bucket. The hash tag keeps a client's keys on one node; a new policy version starts a new bucket."""
    return f"rate:{{{client_id}}}:{version.policy_id}:{version.version}"


def _arguments(rate: Rate) -> tuple[int, int]:
    return rate.interval_microseconds, rate.burst
