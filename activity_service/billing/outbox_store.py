"""The table `billable_event`: what is still to be settled, and the fence that holds left behind run into."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from activity_service.billing.event import BillableEvent, Fate
from activity_service.plays.store import ACQUIRE_TIMEOUT_SECONDS

BATCH_EVENTS = 500
"""Events in one transaction and in one call to metering, which takes no more."""

BACKOFF_INITIAL_SECONDS = 1.0
BACKOFF_LIMIT_SECONDS = 15.0
"""A failed settle is tried again after 1, 2, 4, 8, then every 15 s: once metering is back, bills follow soon."""


@dataclass(frozen=True, slots=True)
class OutboxState:
    """How much of what happened has not been acknowledged by metering."""

    unsettled: int
    oldest_created_at: datetime | None
    parked: int


class LockedEvents:
    """Events that happened, locked by the transaction of `connection`, which also notes what becomes of them."""

    def __init__(self, connection: asyncpg.Connection, events: Sequence[BillableEvent]) -> None:
        self.events = events
        self._connection = connection

    _MARK_SETTLED = """
        UPDATE billable_event SET settled_at = $2, last_error = NULL WHERE hold_id = ANY($1::uuid[])
    """

    async def mark_settled(self, events: Sequence[BillableEvent], now: datetime) -> None:
        """Note that metering has charged `events`."""
        await self._connection.execute(self._MARK_SETTLED, [event.hold_id for event in events], now)

    _PARK = """
        UPDATE billable_event SET parked_at = $2, last_error = $3, attempts = attempts + 1
        WHERE hold_id = ANY($1::uuid[])
    """

    async def park(self, events: Sequence[BillableEvent], reason: str, now: datetime) -> None:
        """Put `events` aside until an operator has them sent again."""
        await self._connection.execute(self._PARK, [event.hold_id for event in events], now, reason)

    _POSTPONE = """
        UPDATE billable_event
        SET attempts = attempts + 1, last_error = $3,
            next_attempt_at = $2::timestamptz + make_interval(secs => least($5, $4 * power(2, least(attempts, 20))))
        WHERE hold_id = ANY($1::uuid[])
    """

    async def postpone(self, events: Sequence[BillableEvent], reason: str, now: datetime) -> None:
        """Let `events` be sent again later, the later the more often they were sent."""
        await self._connection.execute(
            self._POSTPONE,
            [event.hold_id for event in events],
            now,
            reason,
            BACKOFF_INITIAL_SECONDS,
            BACKOFF_LIMIT_SECONDS,
        )


class BillableEventStore:
    """Reads and resolves what the fence holds. Facts are written by those who commit them.

    Closes: two relays at once (SKIP LOCKED: each settles its own share), the sweeper against a request (the
    primary key: whoever inserts first decides). Leaves to metering: an event settled twice, which charges once.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    _LOCK_DUE = """
        SELECT hold_id, event_id, client_id, event_type, user_id, units FROM billable_event
        WHERE outcome = 'happened' AND settled_at IS NULL AND parked_at IS NULL AND next_attempt_at <= $1
        ORDER BY next_attempt_at, hold_id LIMIT $2
        FOR NO KEY UPDATE SKIP LOCKED
    """

    @asynccontextmanager
    async def lock_due(self, now: datetime, limit: int = BATCH_EVENTS) -> AsyncIterator[LockedEvents]:
        """Lock up to `limit` events whose next attempt is due and that nobody else is settling."""
        async with (
            self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection,
            connection.transaction(),
        ):
            rows = await connection.fetch(self._LOCK_DUE, now, limit)
            yield LockedEvents(connection, [BillableEvent(*row) for row in rows])

    _LOCK_HAPPENED = """
        SELECT hold_id, event_id, client_id, event_type, user_id, units FROM billable_event
        WHERE hold_id = ANY($1::uuid[]) AND outcome = 'happened' AND parked_at IS NULL
        ORDER BY hold_id
        FOR NO KEY UPDATE SKIP LOCKED
    """

    @asynccontextmanager
    async def lock_happened(self, hold_ids: Sequence[UUID]) -> AsyncIterator[LockedEvents]:
        """Lock those of `hold_ids` whose fact happened, settled or not; not the parked or what others settle."""
        async with (
            self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection,
            connection.transaction(),
        ):
            rows = await connection.fetch(self._LOCK_HAPPENED, hold_ids)
            yield LockedEvents(connection, [BillableEvent(*row) for row in rows])

    _INSERT_ABANDONED = """
        INSERT INTO billable_event
            (hold_id, event_id, outcome, client_id, event_type, units, created_at, next_attempt_at)
        SELECT hold_id, event_id, 'abandoned', client_id, event_type, units, $6, $6
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[])
            AS item (hold_id, event_id, client_id, event_type, units)
        ORDER BY hold_id
        ON CONFLICT ON CONSTRAINT billable_event_pkey DO NOTHING
    """
    _LIST_OUTCOMES = "SELECT hold_id, outcome FROM billable_event WHERE hold_id = ANY($1::uuid[])"

    async def insert_abandoned(self, events: Sequence[BillableEvent], now: datetime) -> Mapping[UUID, Fate]:
        """Give up the hold of each event unless its fact is committed; answer what now stands, for ever, by hold.

        The user is not written down: nothing happened, and metering may name one whom we have erased by now.
        """
        columns = zip(*((e.hold_id, e.event_id, e.client_id, e.event_type, e.units) for e in events), strict=True)
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            await connection.execute(self._INSERT_ABANDONED, *columns, now)
            # A statement of its own: it must see what committed while the one above waited.
            rows = await connection.fetch(self._LIST_OUTCOMES, [event.hold_id for event in events])
        return {row["hold_id"]: Fate(row["outcome"]) for row in rows}

    _FETCH_STATE = """
        SELECT count(*) AS unsettled, min(created_at) AS oldest_created_at,
               (SELECT count(*) FROM billable_event WHERE parked_at IS NOT NULL) AS parked
        FROM billable_event WHERE outcome = 'happened' AND settled_at IS NULL AND parked_at IS NULL
    """

    async def fetch_state(self) -> OutboxState:
        """Answer how much is waiting; in proportion to it, so not for every request."""
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            row = await connection.fetchrow(self._FETCH_STATE)
        return OutboxState(**row)

    _LIST_PARKED = """
        SELECT hold_id, event_id, client_id, parked_at, attempts, last_error
        FROM billable_event WHERE parked_at IS NOT NULL ORDER BY parked_at, hold_id LIMIT $1
    """

    async def list_parked(self, limit: int) -> list[dict[str, object]]:
        """Answer what was parked, the oldest first: hold_id, event_id, client_id, parked_at, attempts, last_error."""
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            return [dict(row) for row in await connection.fetch(self._LIST_PARKED, limit)]

    _REDRIVE = """
        UPDATE billable_event SET parked_at = NULL, attempts = 0, next_attempt_at = $2
        WHERE parked_at IS NOT NULL AND ($1::uuid[] IS NULL OR hold_id = ANY($1))
        RETURNING hold_id
    """

    async def redrive_parked(self, hold_ids: Sequence[UUID] | None, now: datetime) -> int:
        """Have parked events sent again, all of them without `hold_ids`; answer how many."""
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            return len(await connection.fetch(self._REDRIVE, hold_ids, now))
