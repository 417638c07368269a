"""Holds and their decisions in PostgreSQL: the only truth about quota and credits."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from metering_service.events.event import BillableEvent, Decision, EventState, HeldEvent, Settlement
from metering_service.policies.policy import PolicyVersion
from metering_service.rates.limiter import RateOutcome
from service_chassis.database.pool import OPERATOR_TIMEOUT_SECONDS, count_changed

RETRYABLE = (
    asyncpg.TransactionRollbackError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
)
"""What one event of a batch can cause: each event of it then goes alone."""


class HoldStore:
    """The table `hold`, with the accounts and spends that go with it, through one connection that the caller holds.

    The rules run inside the database (metering_service/sql), under the clients' account locks, taken in one order
    everywhere. Closes: two processes that decide about one client at once, or wait for each other in a circle.
    Leaves open: an event id under two clients at once, or a hold id in two calls at once, ends in an error that is
    worth trying again, SerializationError or UniqueViolationError (RETRYABLE).
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    _AUTHORIZE = """
        SELECT hold_id::text, decision, code, quota_period, receipt
        FROM authorize_events($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[],
                              $7::text[], $8::integer[], $9::boolean[], $10::integer[], $11, $12)
        ORDER BY ordinal
    """

    async def insert_holds(
        self,
        events: Sequence[BillableEvent],
        versions: Sequence[PolicyVersion],
        rates: Sequence[RateOutcome],
        default_policy: str,
        now: datetime,
    ) -> list[Decision]:
        """Decide about `events`, whose ids must be distinct, and hold what is granted; return decisions in order.

        A decision is `stale` when the policy version is not the client's present one.
        """
        rows = await self._connection.fetch(
            self._AUTHORIZE,
            *_columns(events),
            [version.policy_id for version in versions],
            [version.version for version in versions],
            [rate.wait_microseconds == 0 for rate in rates],
            [rate.used_before for rate in rates],
            default_policy,
            now,
        )
        return [
            Decision(hold_id, event.event_id, decision, code, quota_period, receipt)
            for event, (hold_id, decision, code, quota_period, receipt) in zip(events, rows, strict=True)
        ]

    _SETTLE = """
        SELECT state, credits, late, charged
        FROM settle_events($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7, $8)
        ORDER BY ordinal
    """

    async def settle_events(
        self, events: Sequence[BillableEvent], default_policy: str, now: datetime
    ) -> list[Settlement]:
        """Charge `events`, whose ids must be distinct, each once for ever; return settlements in order."""
        rows = await self._connection.fetch(self._SETTLE, *_columns(events), default_policy, now)
        return [Settlement(event.hold_id, event.event_id, *row) for event, row in zip(events, rows, strict=True)]

    _RELEASE = "SELECT hold_id, state FROM release_holds($1::uuid[], $2)"

    async def release_holds(self, hold_ids: Sequence[UUID], now: datetime) -> dict[UUID, str]:
        """Release `hold_ids`; return the state each is in now: `released` or `settled`."""
        return dict(await self._connection.fetch(self._RELEASE, hold_ids, now))

    _FETCH_EVENT = """
        SELECT event_id, hold_id, state, receipt, held_at, closed_at, late
        FROM hold WHERE event_id = $1 AND state IN ('held', 'settled')
        UNION ALL
        SELECT event_id, hold_id, state, receipt, held_at, closed_at, late
        FROM (SELECT * FROM hold WHERE event_id = $1 AND state = 'released' ORDER BY held_at DESC LIMIT 1) released
        LIMIT 1
    """

    async def fetch_event(self, event_id: str) -> EventState | None:
        """Return the hold that stands for an event: the live or settled one, else the last released one."""
        row = await self._connection.fetchrow(self._FETCH_EVENT, event_id)
        return EventState(*row) if row else None

    # Of an erased user nothing is told: '' stands in that place (erase_user).
    _LIST_HELD = """
        SELECT hold_id, event_id, client_id, event_type, nullif(user_id, '') AS user_id, units, held_at
        FROM hold
        WHERE state = 'held' AND held_at <= $1 AND (held_at, hold_id) > ($2, $3)
        ORDER BY held_at, hold_id
        LIMIT $4
    """

    async def list_held(self, held_before: datetime, after: tuple[datetime, UUID], limit: int) -> list[HeldEvent]:
        """Return events that are still held, oldest first, from after (held_at, hold_id) on."""
        return [HeldEvent(*row) for row in await self._connection.fetch(self._LIST_HELD, held_before, *after, limit)]

    # Locks nothing before the whole table is read, and then in the order of every writer of holds.
    _ERASE_USER = """
        WITH theirs AS MATERIALIZED (
            SELECT hold_id FROM hold WHERE client_id = $1 AND user_id = $2 ORDER BY hold_id FOR NO KEY UPDATE
        )
        UPDATE hold SET user_id = '' FROM theirs WHERE hold.hold_id = theirs.hold_id
    """

    async def erase_user(self, client_id: str, user_id: str) -> int:
        """Take a user's id out of all holds and return of how many, in a transaction. Reads the whole table.

        Nothing else changes, so decisions and charges go on; a repeated event that names the user is still the same.
        """
        status: str = await self._connection.execute(
            self._ERASE_USER, client_id, user_id, timeout=OPERATOR_TIMEOUT_SECONDS
        )
        return count_changed(status)


def _columns(events: Sequence[BillableEvent]) -> tuple[list[Any], ...]:
    return (
        [event.hold_id for event in events],
        [event.event_id for event in events],
        [event.client_id for event in events],
        [event.event_type for event in events],
        [event.user_id for event in events],
        [event.units for event in events],
    )
