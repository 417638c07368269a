"""Whether this process and its database agree about the time."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import asyncpg
import structlog
from prometheus_client import Gauge

from service_chassis.clock import Clock
from service_chassis.database.pool import DATABASE_FAULTS

WARN_SECONDS = 5.0
REFUSE_SECONDS = 60.0
"""Further apart, a process must not take part in what goes by the clock: its readings mean nothing to the others."""
CLOCK_WATCH_INTERVAL_SECONDS = 10.0

_log = structlog.get_logger(__name__)


class ClockWatch:
    """Compares the process's clock with its database's, round after round, and remembers how far they are apart."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock, apart: Gauge) -> None:
        self._pool = pool
        self._clock = clock
        self._gauge = apart
        self._apart_seconds = 0.0

    @property
    def is_off(self) -> bool:
        """Whether they were too far apart when they were last compared."""
        return self._apart_seconds > REFUSE_SECONDS

    async def run_once(self) -> None:
        """Compare; log and count where they are apart."""
        loop = asyncio.get_running_loop()
        async with self._pool.acquire(timeout=1) as connection:
            began, before = loop.time(), self._clock()
            moment = await connection.fetchval("SELECT utc_now()")
            halfway = before + timedelta(seconds=(loop.time() - began) / 2)
        self._apart_seconds = abs((moment - halfway).total_seconds())
        self._gauge.set(self._apart_seconds)
        if self._apart_seconds > WARN_SECONDS:
            _log.warning("clock_apart", seconds=round(self._apart_seconds, 1))

    async def check(self) -> None:
        """Raise where they do not agree; for readiness. A database that is away says nothing about the time."""
        with suppress(*DATABASE_FAULTS):
            await self.run_once()
        if self.is_off:
            raise RuntimeError(f"{self._apart_seconds:.0f} s apart from the database")
