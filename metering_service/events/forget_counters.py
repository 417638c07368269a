"""Forget the counters of quotas whose periods ended long ago."""

from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from metering_service.events.event_store import EventStore
from service_chassis.database.rounds import delete_in_rounds

KEPT = timedelta(days=35)
"""A quota per user and day makes a row for each; an operator who looks for one finds it that long."""
FORGET_COUNTERS_INTERVAL_SECONDS = 3600.0
_COUNTERS_A_ROUND = 5_000


@dataclass(frozen=True, slots=True)
class ForgetCounters:
    """Deletes counters that nothing counts in any more, some at a time."""

    pool: asyncpg.Pool

    async def run_once(self) -> None:
        """Delete until there are no more."""
        await delete_in_rounds(
            self.pool,
            lambda connection, limit: EventStore(connection).delete_ended_counters(KEPT, limit),
            _COUNTERS_A_ROUND,
        )
