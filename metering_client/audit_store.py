"""Read what an audit wants of `billable_event`."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from metering_client.event import Fact
from metering_client.outbox_store import UnsettledEvent
from service_chassis.database.store import Store

READ_TIMEOUT_SECONDS = 3600.0
"""An audit of many facts takes minutes and disturbs nobody."""
_PREFETCHED_ROWS = 1000


class AuditStore(Store):
    """Streams what the checks want, through one connection that the caller holds, in a transaction."""

    _WAITING = """
        SELECT hold_id, event_id, client_id, created_at, parked_at, attempts, last_error FROM billable_event
        WHERE outcome = 'happened' AND (parked_at IS NOT NULL OR created_at <= $1)
        ORDER BY created_at, hold_id
    """

    async def stream_waiting(self, created_before: datetime) -> AsyncIterator[UnsettledEvent]:
        """Yield what is parked, and what happened before `created_before` and is not settled, oldest first."""
        async for row in self.stream(self._WAITING, created_before):
            yield UnsettledEvent(*row)

    _LIST_WAITING = "SELECT event_id FROM billable_event WHERE outcome = 'happened' AND event_id = ANY($1::text[])"

    async def list_waiting(self, event_ids: Sequence[str]) -> set[str]:
        """Return those of `event_ids` that are in the outbox."""
        return {event_id for (event_id,) in await self._connection.fetch(self._LIST_WAITING, event_ids)}

    _COUNT_HAPPENED = "SELECT count(*) FROM billable_event WHERE outcome = 'happened'"

    async def count_happened(self) -> int:
        """Return how many events are to be charged, the parked ones too."""
        count: int = await self._connection.fetchval(self._COUNT_HAPPENED)
        return count

    _WITHOUT_FACT = """
        SELECT event_id FROM billable_event
        WHERE outcome = 'happened' AND NOT billable_fact_exists(client_id, event_id) ORDER BY event_id
    """

    async def stream_without_fact(self) -> AsyncIterator[str]:
        """Yield the ids of events that are to be charged and whose fact is not there."""
        async for (event_id,) in self.stream(self._WITHOUT_FACT):
            yield event_id

    _FACTS = """
        SELECT event_id, client_id, event_type, user_id, units, at FROM billable_fact ORDER BY event_id COLLATE "C"
    """

    async def stream_facts(self) -> AsyncIterator[Fact]:
        """Yield what the view `billable_fact` says happened, sorted by event id in the order of bytes."""
        async for row in self.stream(self._FACTS):
            yield Fact(*row)

    def stream(self, statement: str, *arguments: Any) -> AsyncIterator[asyncpg.Record]:
        """Yield the rows of a statement, some at a time."""
        cursor: AsyncIterator[asyncpg.Record] = aiter(
            self._connection.cursor(statement, *arguments, prefetch=_PREFETCHED_ROWS, timeout=READ_TIMEOUT_SECONDS)
        )
        return cursor
