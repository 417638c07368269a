"""The table `billable_event` in PostgreSQL: outbox of what is to be settled, fence (commit record) of each hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from activity_service.billing.event import BillableEvent, Outcome

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


@dataclass(frozen=True, slots=True)
class UnsettledEvent:
    """An event that happened and that metering has not acknowledged; `parked_at` where it refused to."""

    hold_id: UUID
    event_id: str
    client_id: str
    created_at: datetime
    parked_at: datetime | None
    attempts: int
    last_error: str | None


class OutboxStore:
    """Reads and resolves what the fence holds, through one connection that the caller holds.

    Closes: two relays at once (SKIP LOCKED: each settles its own share), the sweeper against a request (the
    primary key: whoever inserts first decides). Leaves to metering: an event settled twice, which charges once.
    `lock_` and what notes the outcome of the locked events belong in one transaction.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    _INSERT_HAPPENED = """
        INSERT INTO billable_event
            (hold_id, event_id, outcome, client_id, event_type, user_id, units, created_at, next_attempt_at)
        VALUES ($1, $2, 'happened', $3, $4, $5, $6, $7, $7)
        ON CONFLICT ON CONSTRAINT billable_event_pkey DO NOTHING
        RETURNING hold_id
    """

    async def insert_happened(self, event: BillableEvent, now: datetime) -> bool:
        """Write that the fact of `event` happened, in the transaction that stores the fact.

        False when the fence has the hold already: given up, or used for the same fact by another request.
        """
        hold_id = await self._connection.fetchval(
            self._INSERT_HAPPENED,
            event.hold_id,
            event.event_id,
            event.client_id,
            event.event_type,
            event.user_id,
            event.units,
            now,
        )
        return hold_id is not None

    _INSERT_ABANDONED = """
        INSERT INTO billable_event
            (hold_id, event_id, outcome, client_id, event_type, units, created_at, next_attempt_at)
        SELECT hold_id, event_id, 'abandoned', client_id, event_type, units, $6, $6
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[])
            AS item (hold_id, event_id, client_id, event_type, units)
        ORDER BY hold_id
        ON CONFLICT ON CONSTRAINT billable_event_pkey DO NOTHING
    """

    async def insert_abandoned(self, events: Sequence[BillableEvent], now: datetime) -> Mapping[UUID, Outcome]:
        """Give up the hold of each event unless its fact is committed; return what now stands, for ever, by hold.

        The user is not written down: nothing happened, and metering may name one whom we have erased by now.
        """
        columns = zip(*((e.hold_id, e.event_id, e.client_id, e.event_type, e.units) for e in events), strict=True)
        await self._connection.execute(self._INSERT_ABANDONED, *columns, now)
        # A statement of its own: it must see what committed while the one above waited.
        return await self.list_outcomes([event.hold_id for event in events])

    _LIST_OUTCOMES = "SELECT hold_id, outcome FROM billable_event WHERE hold_id = ANY($1::uuid[])"

    async def list_outcomes(self, hold_ids: Sequence[UUID]) -> dict[UUID, Outcome]:
        """Return what stands in the fence for those of `hold_ids` that are in it."""
        rows = await self._connection.fetch(self._LIST_OUTCOMES, hold_ids)
        return {row["hold_id"]: Outcome(row["outcome"]) for row in rows}

    _LOCK_DUE = """
        SELECT hold_id, event_id, client_id, event_type, user_id, units FROM billable_event
        WHERE outcome = 'happened' AND settled_at IS NULL AND parked_at IS NULL AND next_attempt_at <= $1
        ORDER BY next_attempt_at, hold_id LIMIT $2
        FOR NO KEY UPDATE SKIP LOCKED
    """

    async def lock_due(self, now: datetime, limit: int = BATCH_EVENTS) -> list[BillableEvent]:
        """Lock up to `limit` events whose next attempt is due and that nobody else is settling."""
        return [BillableEvent(*row) for row in await self._connection.fetch(self._LOCK_DUE, now, limit)]

    _LOCK_HAPPENED = """
        SELECT hold_id, event_id, client_id, event_type, user_id, units FROM billable_event
        WHERE hold_id = ANY($1::uuid[]) AND outcome = 'happened' AND parked_at IS NULL
        ORDER BY hold_id
        FOR NO KEY UPDATE SKIP LOCKED
    """

    async def lock_happened(self, hold_ids: Sequence[UUID]) -> list[BillableEvent]:
        """Lock those of `hold_ids` whose fact happened, settled or not; not the parked or what others settle."""
        return [BillableEvent(*row) for row in await self._connection.fetch(self._LOCK_HAPPENED, hold_ids)]

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
        """Put `events` aside (dead-letter them) until an operator has them sent again."""
        await self._connection.execute(self._PARK, [event.hold_id for event in events], now, reason)

    _POSTPONE = """
        UPDATE billable_event
        SET attempts = attempts + 1, last_error = $3,
            next_attempt_at = $2::timestamptz + make_interval(secs => least($5, $4 * power(2, least(attempts, 20))))
        WHERE hold_id = ANY($1::uuid[])
    """

    async def postpone(self, events: Sequence[BillableEvent], reason: str, now: datetime) -> None:
        """Let `events` be sent again later, the later the more often they were sent."""
        hold_ids = [event.hold_id for event in events]
        await self._connection.execute(
            self._POSTPONE, hold_ids, now, reason, BACKOFF_INITIAL_SECONDS, BACKOFF_LIMIT_SECONDS
        )

    _FETCH_STATE = """
        SELECT count(*) AS unsettled, min(created_at) AS oldest_created_at,
               (SELECT count(*) FROM billable_event WHERE parked_at IS NOT NULL) AS parked
        FROM billable_event WHERE outcome = 'happened' AND settled_at IS NULL AND parked_at IS NULL
    """

    async def fetch_state(self) -> OutboxState:
        """Return how much is waiting; in proportion to it, so not for every request."""
        return OutboxState(**await self._connection.fetchrow(self._FETCH_STATE))

    _LIST_PARKED = """
        SELECT hold_id, event_id, client_id, created_at, parked_at, attempts, last_error
        FROM billable_event WHERE parked_at IS NOT NULL ORDER BY parked_at, hold_id LIMIT $1
    """

    async def list_parked(self, limit: int) -> list[UnsettledEvent]:
        """Return what was parked, the oldest first."""
        return [UnsettledEvent(*row) for row in await self._connection.fetch(self._LIST_PARKED, limit)]

    _REDRIVE_PARKED = """
        UPDATE billable_event SET parked_at = NULL, attempts = 0, next_attempt_at = $2
        WHERE parked_at IS NOT NULL AND ($1::uuid[] IS NULL OR hold_id = ANY($1))
        RETURNING hold_id
    """

    async def redrive_parked(self, hold_ids: Sequence[UUID] | None, now: datetime) -> int:
        """Have parked events sent again, all of them without `hold_ids`; return how many."""
        return len(await self._connection.fetch(self._REDRIVE_PARKED, hold_ids, now))
