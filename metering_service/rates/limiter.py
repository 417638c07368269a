"""Request rates, in Redis: fast, shared by all processes, and not worth a denial when it is away (fail open).

Races: the script runs alone on the server, so two requests never take the same place. Not closed: a
request that is then denied by quota or credits has used its place; a server that loses its memory (restart,
FLUSHALL, failover) starts every rate anew, full. Nothing but rates is kept here.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from metering_service.metrics import MeteringMetrics
from metering_service.policies.policy import PolicyVersion, Rate
from service_chassis.operations.logging import log_fault

_SCRIPT = (Path(__file__).parent / "gcra.lua").read_text()
_CONNECTIONS = 8
FAIL_OPEN_SECONDS = 1.0
"""How long requests pass unchecked after a failure before Redis is asked again: a frozen server must not cost every
batch its whole timeout."""


class RateOutcome(NamedTuple):
    """What the rate says of one request.

    `used_before` counts the burst in use; None when there is no rate, or no Redis. `wait_microseconds` is 0
    when the request passes.
    """

    used_before: int | None = None
    wait_microseconds: int = 0


PASSED = RateOutcome()


class RateLimiter:
    """Takes a place for each request of a batch, in one call."""

    def __init__(self, url: str, *, timeout_seconds: float, metrics: MeteringMetrics) -> None:
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
        self._asks_again_at = 0.0
        self._unchecked = metrics.unchecked_rates

    async def take(self, requests: Sequence[tuple[str, PolicyVersion]]) -> list[RateOutcome]:
        """Take a place for each (client id, policy version); return outcomes in order.

        Never raises for Redis' sake: without it, within the timeout, everything passes and is counted.
        """
        outcomes = [PASSED] * len(requests)
        buckets: dict[str, tuple[Rate, list[int]]] = {}
        for index, (client_id, version) in enumerate(requests):
            rate = version.policy.rate
            if rate is not None:
                buckets.setdefault(rate_key(client_id, version), (rate, []))[1].append(index)
        if not buckets:
            return outcomes
        for (_, indexes), (used, passed, wait) in zip(buckets.values(), await self._ask(buckets), strict=True):
            for place, index in enumerate(indexes):
                outcomes[index] = (
                    RateOutcome(used_before=used + place) if place < passed else RateOutcome(wait_microseconds=wait)
                )
        return outcomes

    async def _ask(self, buckets: Mapping[str, tuple[Rate, list[int]]]) -> Sequence[tuple[int, int, int]]:
        """Return for each bucket how much of it was used, how many requests pass, how long the others would wait."""
        if time.monotonic() >= self._asks_again_at:
            arguments = [
                number
                for rate, indexes in buckets.values()
                for number in (rate.interval_microseconds, rate.burst, len(indexes))
            ]
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    numbers: list[int] = await self._script(keys=list(buckets), args=arguments)
                    return list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
            except (redis.exceptions.RedisError, TimeoutError, OSError) as error:
                self._asks_again_at = time.monotonic() + FAIL_OPEN_SECONDS
                log_fault("rates_open", error)
        self._unchecked.inc(sum(len(indexes) for _, indexes in buckets.values()))
        return [(0, 0, 0)] * len(buckets)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
        await self._pool.aclose()


def rate_key(client_id: str, version: PolicyVersion) -> str:
    """Return a bucket's name. The hash tag keeps a client's keys on one node; a new version has a new bucket."""
    return f"rate:{{{client_id}}}:{version.policy_id}:{version.version}"
