"""The table `billable_event` in PostgreSQL: outbox of what is to be settled, fence (commit record) of each hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from metering_client.event import BillableEvent, Fenced, Grant, Outcome
from metering_client.fence_store import LEASE_SECONDS, insert_fences
from service_chassis.database.pool import count_changed
from service_chassis.database.store import Store
from service_chassis.http.request_context import Origin

BATCH_EVENTS = 500
"""Events in one statement and in one call to metering, which takes no more."""

BACKOFF_INITIAL_SECONDS = 1.0
BACKOFF_LIMIT_SECONDS = 15.0
"""A failed settle is tried again after 1, 2, 4, 8, then every 15 s: once metering is back, bills follow soon."""


@dataclass(frozen=True, slots=True)
class OutboxState:
    """How much of what happened has not been acknowledged by metering."""

    unsettled: int
    oldest_age_seconds: float | None
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


_COLUMNS = "hold_id::text, event_id, client_id, event_type, user_id, units, created_at, request_id, traceparent"


class OutboxStore(Store):
    """Reads and resolves what the fence holds, through one connection that the caller holds. Needs no transaction.

    Closes: the sweeper or a request that gives up against a request that commits (the primary key: whoever inserts
    first decides), two relays at once (a claimed event is nobody else's for a while). Leaves to metering: an event
    settled twice, which charges once. All moments are the database's (`utc_now()`).
    """

    _INSERT_HAPPENED = f"""
        WITH item AS (
            SELECT $1::uuid AS hold_id, $2 AS event_id, $3 AS client_id, $4 AS event_type, $5 AS user_id,
                   $6::bigint AS units, coalesce($7::timestamptz, utc_now()) AS created_at,
                   $8::timestamptz AS held_at, $9::bigint AS attempted, $11 AS request_id, $12 AS traceparent
        ), fence AS ({insert_fences(retention="$10")})
        SELECT item.created_at FROM item JOIN fence USING (hold_id)
    """

    async def insert_happened(
        self, event: BillableEvent, grant: Grant, at: datetime | None, retention: timedelta
    ) -> datetime | None:
        """Write that the fact of `event` happened under `grant`, in the transaction that stores the fact.

        Returns when it happened: `at`, or the database's present moment. None when the fence has the hold already,
        given up or used for the same fact by another request, or when the hold is too old to be used.
        """
        happened_at: datetime | None = await self._connection.fetchval(
            self._INSERT_HAPPENED,
            grant.hold_id,
            event.event_id,
            event.client_id,
            event.event_type,
            event.user_id,
            event.units,
            at,
            datetime.fromisoformat(grant.held_at or ""),
            grant.attempted_milliseconds,
            retention,
            event.origin and event.origin.request_id,
            event.origin and event.origin.traceparent,
        )
        return happened_at

    # Where the fact is there, nothing was left behind: the hold is to be settled.
    _INSERT_ABANDONED = """
        INSERT INTO billable_event
            (hold_id, event_id, outcome, client_id, event_type, units, created_at, next_attempt_at)
        SELECT hold_id, event_id, 'abandoned', client_id, event_type, units, utc_now(), utc_now()
        FROM json_to_recordset($1::json)
            AS item (hold_id uuid, event_id text, client_id text, event_type text, units bigint)
        WHERE NOT billable_fact_exists(client_id, event_id)
        ORDER BY hold_id
        ON CONFLICT ON CONSTRAINT billable_event_pkey DO NOTHING
    """
    _LIST_OUTCOMES = """
        SELECT item.hold_id::text, coalesce(fence.outcome, 'charged'), fence.units,
               fence.request_id, fence.traceparent
        FROM json_to_recordset($1::json) AS item (hold_id uuid, event_id text, client_id text)
        LEFT JOIN billable_event AS fence ON fence.hold_id = item.hold_id
        WHERE fence.hold_id IS NOT NULL OR billable_fact_exists(item.client_id, item.event_id)
    """

    async def insert_abandoned(self, events: Sequence[BillableEvent]) -> Mapping[str, Fenced]:
        """Give up the hold of each event whose fact is not committed; return what now stands, by hold.

        The user is not written down: nothing happened, and metering may name one whom we have erased by now. A hold
        is missing only where a row of it was settled, and its fact deleted, in that very moment.
        """
        items = _as_json(events)
        await self._connection.execute(self._INSERT_ABANDONED, items)
        # A statement of its own: it must see what committed while the one above waited.
        rows = await self._connection.fetch(self._LIST_OUTCOMES, items)
        return {row[0]: Fenced(Outcome(row[1]), row[2], _read_origin(*row[3:])) for row in rows}

    _LIST_HAPPENED = """
        SELECT hold_id::text FROM json_to_recordset($1::json) AS item (hold_id uuid, event_id text, client_id text)
        WHERE billable_fact_exists(client_id, event_id)
    """

    async def list_happened(self, events: Sequence[BillableEvent]) -> set[str]:
        """Return the holds of those of `events` whose fact is there."""
        return {hold_id for (hold_id,) in await self._connection.fetch(self._LIST_HAPPENED, _as_json(events))}

    # What is due is found by walking the key from `$3` on: the table is small, and holds are in the order of time.
    _CLAIM_DUE = f"""
        UPDATE billable_event SET next_attempt_at = utc_now() + $1::interval
        WHERE hold_id = ANY (ARRAY(
            SELECT hold_id FROM billable_event
            WHERE outcome = 'happened' AND parked_at IS NULL AND next_attempt_at <= utc_now() AND hold_id > $3::uuid
            ORDER BY hold_id LIMIT $2
            FOR NO KEY UPDATE SKIP LOCKED
        ))
        RETURNING {_COLUMNS}
    """

    async def claim_due(self, after: str, limit: int = BATCH_EVENTS) -> list[BillableEvent]:
        """Take up to `limit` events that are due, by hold id from after `after` on, for a while."""
        rows = await self._connection.fetch(self._CLAIM_DUE, timedelta(seconds=LEASE_SECONDS), limit, after)
        return sorted(map(_read_event, rows), key=lambda event: event.hold_id)

    _DELETE_SETTLED = "DELETE FROM billable_event WHERE hold_id = ANY($1::uuid[]) AND outcome = 'happened'"

    async def delete_settled(self, hold_ids: Sequence[str]) -> None:
        """Forget events that metering has charged."""
        await self._connection.execute(self._DELETE_SETTLED, hold_ids)

    _PARK = """
        UPDATE billable_event AS event
        SET parked_at = coalesce(before.parked_at, utc_now()), last_error = $2, attempts = event.attempts + 1
        FROM (SELECT hold_id, parked_at FROM billable_event WHERE hold_id = $1::uuid) AS before
        WHERE event.hold_id = before.hold_id AND event.outcome = 'happened'
        RETURNING before.parked_at IS NOT NULL
    """

    async def park(self, event: BillableEvent, reason: str) -> bool:
        """Put an event aside (dead-letter it) until an operator has it sent again; return whether it was already."""
        return bool(await self._connection.fetchval(self._PARK, event.hold_id, reason))

    _POSTPONE = """
        UPDATE billable_event
        SET attempts = attempts + 1, last_error = $2,
            next_attempt_at = utc_now() + make_interval(secs => least($4, $3 * power(2, least(attempts, 20))))
        WHERE hold_id = ANY($1::uuid[]) AND outcome = 'happened'
    """

    async def postpone(self, hold_ids: Sequence[str], reason: str) -> None:
        """Let events be sent again later, the later the more often they were sent."""
        await self._connection.execute(
            self._POSTPONE, hold_ids, reason, BACKOFF_INITIAL_SECONDS, BACKOFF_LIMIT_SECONDS
        )

    _DELETE_EXPIRED = """
        DELETE FROM billable_event WHERE hold_id = ANY (ARRAY(
            SELECT hold_id FROM billable_event
            WHERE outcome = 'abandoned' AND created_at < utc_now() - $1::interval
            ORDER BY hold_id LIMIT $2
            FOR UPDATE SKIP LOCKED
        ))
    """

    async def delete_expired(self, retention: timedelta, limit: int) -> int:
        """Forget holds that were given up longer ago than `retention`, up to `limit` of them; return how many."""
        return count_changed(await self._connection.execute(self._DELETE_EXPIRED, retention, limit))

    _FETCH_STATE = """
        SELECT count(*) FILTER (WHERE parked_at IS NULL),
               extract(epoch FROM utc_now() - min(created_at) FILTER (WHERE parked_at IS NULL))::float,
               count(*) FILTER (WHERE parked_at IS NOT NULL)
        FROM billable_event WHERE outcome = 'happened'
    """

    async def fetch_state(self) -> OutboxState:
        """Return how much is waiting; in proportion to it, so not for every request."""
        return OutboxState(*await self._connection.fetchrow(self._FETCH_STATE))

    _LIST_PARKED = """
        SELECT hold_id, event_id, client_id, created_at, parked_at, attempts, last_error
        FROM billable_event WHERE parked_at IS NOT NULL ORDER BY parked_at, hold_id LIMIT $1
    """

    async def list_parked(self, limit: int) -> list[UnsettledEvent]:
        """Return what was parked, the oldest first."""
        return [UnsettledEvent(*row) for row in await self._connection.fetch(self._LIST_PARKED, limit)]

    _REDRIVE_PARKED = """
        UPDATE billable_event SET parked_at = NULL, attempts = 0, next_attempt_at = utc_now()
        WHERE parked_at IS NOT NULL AND ($1::uuid[] IS NULL OR hold_id = ANY($1))
        RETURNING hold_id, client_id
    """

    async def redrive_parked(self, hold_ids: Sequence[UUID] | None) -> dict[UUID, str]:
        """Have parked events sent again, all of them without `hold_ids`; return those that were: hold and client."""
        rows = await self._connection.fetch(self._REDRIVE_PARKED, hold_ids)
        return {UUID(str(hold_id)): client_id for hold_id, client_id in rows}

    _INSERT_UNCHARGED = """
        INSERT INTO billable_event
            (hold_id, event_id, outcome, client_id, event_type, user_id, units, created_at, next_attempt_at)
        SELECT hold_id, event_id, 'happened', client_id, event_type, user_id, units, happened_at, utc_now()
        FROM json_to_recordset($1::json)
            AS item (hold_id uuid, event_id text, client_id text, event_type text, user_id text, units bigint,
                     happened_at timestamptz)
        WHERE NOT EXISTS (
            SELECT FROM billable_event AS waiting
            WHERE waiting.event_id = item.event_id AND waiting.client_id = item.client_id
              AND waiting.outcome = 'happened')
        RETURNING client_id
    """

    async def insert_uncharged(self, events: Sequence[BillableEvent]) -> list[str]:
        """Put facts without a charge into the outbox again, unless they wait in it; return the client of each."""
        return [client_id for (client_id,) in await self._connection.fetch(self._INSERT_UNCHARGED, _as_json(events))]


def _read_event(row: asyncpg.Record) -> BillableEvent:
    *columns, request_id, traceparent = row
    return replace(BillableEvent(*columns), origin=_read_origin(request_id, traceparent))


def _read_origin(request_id: str | None, traceparent: str | None) -> Origin | None:
    return None if request_id is None else Origin(request_id, traceparent)


def _as_json(events: Sequence[BillableEvent]) -> str:
    return orjson.dumps(events, default=_refuse).decode()


def _refuse(value: Any) -> Any:
    raise TypeError(type(value).__name__)
