"""Holds and their decisions in PostgreSQL: the only truth about quota and credits.

The rules run inside the database (migrations 0002 and 0005), under the clients' account locks, taken in
one order everywhere: two processes never decide about one client at once, and never wait for each other in a
circle. An event id under two clients at once, or a hold id in two calls at once, ends in an error that is
worth trying again: SerializationError or UniqueViolationError.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import asyncpg

from metering_service.events.event import BillableEvent
from metering_service.policies.policy import PolicyVersion
from metering_service.rates.limiter import RateOutcome
from service_chassis.database.pool import OPERATOR_TIMEOUT_SECONDS, count_changed

ACQUIRE_TIMEOUT_SECONDS = 1.0

RETRYABLE = (
    asyncpg.TransactionRollbackError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
)
"""What one event of a batch can cause: each event of it then goes alone."""


class HoldStore:
    """Decides, charges, releases and looks up, a batch at a time."""

    def __init__(self, pool: asyncpg.Pool, *, default_policy: str) -> None:
        self._pool = pool
        self._default_policy = default_policy

    _AUTHORIZE = """
        SELECT decision, code, hold_id::text, quota_period, receipt
        FROM authorize_events($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[],
                              $7::text[], $8::integer[], $9::boolean[], $10::integer[], $11, $12)
        ORDER BY ordinal
    """

    async def insert_holds(
        self,
        events: Sequence[BillableEvent],
        versions: Sequence[PolicyVersion],
        rates: Sequence[RateOutcome],
        now: datetime,
    ) -> list[asyncpg.Record]:
        """Decide about `events`, whose ids must be distinct, and hold what is granted.

        Answers a row an event, in order: decision (`granted`, `denied`, `conflict`, or `stale` when the
        policy version is not the client's present one), code, hold_id as text, quota_period, receipt.
        """
        return await self._fetch(
            self._AUTHORIZE,
            *_columns(events),
            [version.policy_id for version in versions],
            [version.version for version in versions],
            [rate.wait_microseconds == 0 for rate in rates],
            [rate.used_before for rate in rates],
            self._default_policy,
            now,
        )

    _SETTLE = """
        SELECT state, credits, late, charged
        FROM settle_events($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7, $8)
        ORDER BY ordinal
    """

    async def settle_events(self, events: Sequence[BillableEvent], now: datetime) -> list[asyncpg.Record]:
        """Charge `events`, whose ids must be distinct, each once for ever.

        Answers a row an event, in order: state (`settled` or `conflict`), credits, late, and whether this
        very call charged it.
        """
        return await self._fetch(self._SETTLE, *_columns(events), self._default_policy, now)

    async def release_holds(self, hold_ids: Sequence[UUID], now: datetime) -> dict[UUID, str]:
        """Release `hold_ids`; answer the state each is in now: `released` or `settled`."""
        rows = await self._fetch("SELECT hold_id, state FROM release_holds($1::uuid[], $2)", hold_ids, now)
        return {row["hold_id"]: row["state"] for row in rows}

    _FETCH_EVENT = """
        SELECT hold_id, event_id, state, receipt, late, held_at, closed_at
        FROM hold WHERE event_id = $1 AND state IN ('held', 'settled')
        UNION ALL
        SELECT hold_id, event_id, state, receipt, late, held_at, closed_at
        FROM (SELECT * FROM hold WHERE event_id = $1 AND state = 'released' ORDER BY held_at DESC LIMIT 1) released
        LIMIT 1
    """

    async def fetch_event(self, event_id: str) -> asyncpg.Record | None:
        """Answer the hold that stands for an event: the live or settled one, else the last released one."""
        rows = await self._fetch(self._FETCH_EVENT, event_id)
        return rows[0] if rows else None

    # Of an erased user nothing is told: '' stands in that place (migrations/0005_erased_users.sql).
    _LIST_HELD = """
        SELECT hold_id, event_id, client_id, event_type, nullif(user_id, '') AS user_id, units, held_at
        FROM hold
        WHERE state = 'held' AND held_at <= $1 AND (held_at, hold_id) > ($2, $3)
        ORDER BY held_at, hold_id
        LIMIT $4
    """

    async def list_held(
        self, held_before: datetime, after: tuple[datetime, UUID], limit: int
    ) -> list[asyncpg.Record]:
        """List holds that are still held, oldest first, from after (held_at, hold_id) on."""
        return await self._fetch(self._LIST_HELD, held_before, *after, limit)

    # Locks nothing before the whole table is read, and then in the order of every writer of holds.
    _ERASE_USER = """
        WITH theirs AS MATERIALIZED (
            SELECT hold_id FROM hold WHERE client_id = $1 AND user_id = $2 ORDER BY hold_id FOR NO KEY UPDATE
        )
        UPDATE hold SET user_id = '' FROM theirs WHERE hold.hold_id = theirs.hold_id
    """

    async def erase_user(self, connection: asyncpg.Connection, client_id: str, user_id: str) -> int:
        """Take a user's id out of all holds, in the caller's transaction; answer of how many. Reads the whole table.

        Nothing else changes, so decisions and charges go on; a repeated event that names the user is still the same.
        """
        status: str = await connection.execute(self._ERASE_USER, client_id, user_id, timeout=OPERATOR_TIMEOUT_SECONDS)
        return count_changed(status)

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            return cast("list[asyncpg.Record]", await connection.fetch(statement, *arguments))


def _columns(events: Sequence[BillableEvent]) -> tuple[list[Any], ...]:
    return (
        [event.hold_id for event in events],
        [event.event_id for event in events],
        [event.client_id for event in events],
        [event.event_type for event in events],
        [event.user_id for event in events],
        [event.units for event in events],
    )
