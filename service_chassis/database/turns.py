"""Turns at the connections of a pool: first come, first served, each wait bounded, and all of it counted.

One client never has all of them: a quarter is left to the others, however long its own statements take.
"""

import asyncio
import time
from weakref import WeakValueDictionary

from prometheus_client import Counter, Histogram

from service_chassis.errors import TooManyAtOnce
from service_chassis.operations.metrics import Metrics


class PoolMetrics:
    """What is counted of the pools of a process, by what each is for. Made once per application."""

    def __init__(self, metrics: Metrics) -> None:
        self._sizes = metrics.gauge("database_pool_size", "Connections that may be lent at once.", ["pool"])
        self._lent = metrics.gauge("database_pool_lent", "Connections that are lent.", ["pool"])
        self._waits = metrics.histogram(
            "database_pool_wait_seconds", "Waits for a connection, where all were lent.", ["pool"]
        )
        self._timeouts = metrics.counter(
            "database_pool_timeouts", "Waits for a connection that ended without one.", ["pool"]
        )

    def watch(self, turns: "Turns", pool: str) -> None:
        """Count the turns of one pool from now on."""
        self._sizes.labels(pool).set(turns.size)
        self._lent.labels(pool).set_function(lambda: turns.taken)
        turns.waits, turns.timeouts = self._waits.labels(pool), self._timeouts.labels(pool)


class Turns:
    """As many turns as a pool has connections. One that need not be waited for costs an addition to be counted."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        self.waits: Histogram | None = None
        self.timeouts: Counter | None = None
        self._free = asyncio.Semaphore(size)
        self._most_of_one = max(1, size - max(1, size // 4))
        self._whole = asyncio.Semaphore(size)
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def share_of(self, client_id: str) -> asyncio.Semaphore:
        """Return what a client may have at once, all of it for '', nobody in particular."""
        if not client_id:
            return self._whole
        share = self._shares.get(client_id)
        if share is None:
            share = self._shares[client_id] = asyncio.Semaphore(self._most_of_one)
        return share

    async def take(self, timeout_seconds: float, share: asyncio.Semaphore) -> None:
        """Take a turn out of a client's share, which is to be given back. Raises TimeoutError when none comes in
        time, TooManyAtOnce where the client has all of its share, and others have some left.
        """
        if self._free.locked() or share.locked():
            await self._wait(timeout_seconds, share)
        else:
            await self._take(share)
        self.taken += 1

    async def _take(self, share: asyncio.Semaphore) -> None:
        await share.acquire()  # first: whoever waits for this keeps no turn from others
        try:
            await self._free.acquire()
        except BaseException:
            share.release()
            raise

    async def _wait(self, timeout_seconds: float, share: asyncio.Semaphore) -> None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._take(share)
        except TimeoutError:
            if self.timeouts is not None:
                self.timeouts.inc()
            if share.locked() and not self._free.locked():
                raise TooManyAtOnce from None
            raise
        finally:
            if self.waits is not None:
                self.waits.observe(time.perf_counter() - began)

    def give_back(self, share: asyncio.Semaphore) -> None:
        """Let the next one have it."""
        self.taken -= 1
        share.release()
        self._free.release()
