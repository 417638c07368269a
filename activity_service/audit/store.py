"""Read what an audit looks at, in constant memory."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import asyncpg

from activity_service.audit.checks import AnnouncedEvent, Fact
from activity_service.billing.outbox_store import UnsettledEvent
from service_chassis.database.pool import UNHURRIED
from service_chassis.database.tenancy import ALL_CLIENTS

READ_TIMEOUT_SECONDS = 3600.0
"""The joins read whole tables; an audit of many plays takes minutes and disturbs nobody."""
_PREFETCHED_ROWS = 1000

CONNECTION_SETTINGS = {**ALL_CLIENTS, **UNHURRIED}
"""An audit's own connection sees everything and is allowed to be slow."""

_FACTS = """
    SELECT 'plan_play.created:' || id AS event_id, client_id, user_id, created_at AS at FROM plan_play
    UNION ALL
    SELECT 'plan_play.completed:' || id, client_id, user_id, first_ended_at FROM plan_play
    WHERE first_ended_at IS NOT NULL
"""


class AuditStore:
    """Streams what the checks want, through one connection that the caller holds, in one snapshot."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    _ANNOUNCED = f"""
        WITH fact AS ({_FACTS})
        SELECT event.event_id, event.client_id, fact.client_id, event.user_id IS NOT DISTINCT FROM fact.user_id
        FROM billable_event event LEFT JOIN fact ON fact.event_id = event.event_id
        WHERE event.outcome = 'happened'
    """

    async def stream_announced(self) -> AsyncIterator[AnnouncedEvent]:
        """Yield every event that is to be charged beside the fact that a play says.

        A hash join: linear in the rows.
        """
        async for row in self._stream(self._ANNOUNCED):
            yield AnnouncedEvent(*row)

    _COUNT_FACTS = f"SELECT count(*) FROM ({_FACTS}) AS fact"

    async def count_facts(self) -> int:
        """Return how many facts plays say there are."""
        count: int = await self._connection.fetchval(self._COUNT_FACTS, timeout=READ_TIMEOUT_SECONDS)
        return count

    _WAITING = """
        SELECT hold_id, event_id, client_id, created_at, parked_at, attempts, last_error FROM billable_event
        WHERE outcome = 'happened' AND (parked_at IS NOT NULL OR created_at <= $1)
        ORDER BY created_at, hold_id
    """

    async def stream_waiting(self, created_before: datetime) -> AsyncIterator[UnsettledEvent]:
        """Yield what is parked, and what happened before `created_before` and is not settled, oldest first."""
        async for row in self._stream(self._WAITING, created_before):
            yield UnsettledEvent(*row)

    # Two walks along the primary key, one after the other: a UUID's bytes are in the order of its text, and
    # 'completed' comes before 'created'.
    _COMPLETIONS = """
        SELECT 'plan_play.completed:' || id, client_id, user_id, first_ended_at FROM plan_play
        WHERE first_ended_at IS NOT NULL ORDER BY id
    """
    _CREATIONS = "SELECT 'plan_play.created:' || id, client_id, user_id, created_at FROM plan_play ORDER BY id"

    async def stream_facts(self) -> AsyncIterator[Fact]:
        """Yield every fact, sorted by event id."""
        for statement in (self._COMPLETIONS, self._CREATIONS):
            async for row in self._stream(statement):
                yield Fact(*row)

    _LIST_FACTS = f"SELECT event_id, client_id, user_id, at FROM ({_FACTS}) fact WHERE event_id = ANY($1::text[])"

    async def list_facts(self, event_ids: list[str]) -> list[Fact]:
        """Return those of `event_ids` that plays say happened. Reads the whole table."""
        rows = await self._connection.fetch(self._LIST_FACTS, event_ids, timeout=READ_TIMEOUT_SECONDS)
        return [Fact(*row) for row in rows]

    _LIST_WAITING = "SELECT event_id FROM billable_event WHERE outcome = 'happened' AND event_id = ANY($1::text[])"

    async def list_waiting(self, event_ids: list[str]) -> set[str]:
        """Return those of `event_ids` that are in the outbox."""
        return {event_id for (event_id,) in await self._connection.fetch(self._LIST_WAITING, event_ids)}

    def _stream(self, statement: str, *arguments: Any) -> AsyncIterator[asyncpg.Record]:
        cursor: AsyncIterator[asyncpg.Record] = aiter(
            self._connection.cursor(statement, *arguments, prefetch=_PREFETCHED_ROWS, timeout=READ_TIMEOUT_SECONDS)
        )
        return cursor
