"""New plays in PostgreSQL: play, fence and idempotency key in one statement, for many requests at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import orjson

from activity_service.billing.event import BillableEvent, Outcome
from activity_service.billing.outbox_store import OutboxStore
from activity_service.plays.idempotency import IdempotentRequest, StoredResponse
from activity_service.plays.plan_play import PlanPlay

REFUSED_ROWS = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)
"""What a single creation of a batch can cause: the database refused it for certain, and nothing of it is stored.
Every other error of the statement leaves open whether it was committed."""


@dataclass(frozen=True, slots=True)
class Creation:
    """A play to be stored together with the event that bills it; with a key, also the response to store.

    `event.hold_id` is the hold that metering granted. `response` is the body that the caller will get.
    """

    play: PlanPlay
    event: BillableEvent
    request: IdempotentRequest | None
    response: bytes


class CreationStore:
    """Inserts into `plan_play`, `billable_event` and `idempotency_key`, all or nothing per creation.

    `billable_event` is billing's table (billing/outbox_store.py): the fence of a create is written here because it
    must be in one statement with its play, for many creates in one trip to the server.

    Closes: two creations of one play (they share a hold, and the fence lets one through), a creation against
    the sweeper (the fence again), creations of two processes that wait for each other (fences are written in
    the order of their ids).
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    # Statement and transaction are one: what is answered is committed. Lists travel as JSON, because unnest
    # would flatten arrays of arrays.
    _INSERT = """
        WITH item AS (
            SELECT * FROM unnest(
                $1::uuid[], $2::text[], $3::text[], $4::bigint[],
                $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
                $13::text[], $14::text[], $15::timestamptz[], $16::text[], $17::text[], $18::bytea[], $19::bytea[]
            ) AS item (
                hold_id, event_id, event_type, units,
                play_id, client_id, user_id, plan_id, planned_lessons, email, display_name, photo_url,
                assignment_source, risk_level, created_at, key_user_id, key, fingerprint, response
            )
        ), fence AS (
            INSERT INTO billable_event
                (hold_id, event_id, outcome, client_id, event_type, user_id, units, created_at, next_attempt_at)
            SELECT hold_id, event_id, 'happened', client_id, event_type, user_id, units, created_at, created_at
            FROM item ORDER BY hold_id
            ON CONFLICT ON CONSTRAINT billable_event_pkey DO NOTHING
            RETURNING hold_id
        ), play AS (
            INSERT INTO plan_play
                (id, client_id, user_id, plan_id, status, planned_lessons, current_lesson_index, completed_lessons,
                 completed_lesson_plays, total_lessons_completed, email, display_name, photo_url, assignment_source,
                 risk_level, created_at, updated_at)
            SELECT play_id, client_id, user_id, plan_id, 'active',
                   ARRAY(SELECT lesson FROM json_array_elements_text(planned_lessons::json) WITH ORDINALITY
                         AS element (lesson, n) ORDER BY n),
                   0, '{}', '{}', 0, email, display_name, photo_url, assignment_source, risk_level,
                   created_at, created_at
            FROM item JOIN fence USING (hold_id)
        ), key AS (
            INSERT INTO idempotency_key
                (client_id, user_id, key, fingerprint, plan_play_id, response, created_at)
            SELECT client_id, key_user_id, key, fingerprint, play_id, response, created_at
            FROM item JOIN fence USING (hold_id) WHERE key IS NOT NULL
        )
        SELECT hold_id FROM fence
    """

    async def insert_plan_plays(self, creations: Sequence[Creation]) -> list[Outcome]:
        """Store every creation whose hold nobody wrote to the fence before; return each one's outcome, in order.

        Raises one of REFUSED_ROWS when the database refuses one of them: then none is stored. After any other
        error what was stored is unknown.
        """
        # Two requests with one key share a hold. The fence would let one of them through, but its rows would
        # then be joined to both.
        by_hold = {creation.event.hold_id: creation for creation in reversed(creations)}
        distinct = list(by_hold.values())
        rows = await self._connection.fetch(self._INSERT, *_columns(distinct))
        won = {row["hold_id"] for row in rows}
        outcomes: dict[UUID, Outcome] = {}
        if len(won) < len(distinct):
            # A statement of its own: it must see what committed while the one above waited.
            lost = [hold_id for hold_id in by_hold if hold_id not in won]
            outcomes = await OutboxStore(self._connection).list_outcomes(lost)
        return [_outcome(creation, by_hold, won, outcomes) for creation in creations]

    _LIST_RESPONSES = """
        SELECT client_id, user_id, key, fingerprint, response
        FROM unnest($1::text[], $2::text[], $3::text[]) AS asked (client_id, user_id, key)
        JOIN idempotency_key USING (client_id, user_id, key)
    """

    async def list_responses(self, requests: Sequence[IdempotentRequest]) -> list[StoredResponse | None]:
        """Return the response to the first request with each one's key, in order; None where the key is new."""
        scopes = [request.scope for request in requests]
        rows = await self._connection.fetch(self._LIST_RESPONSES, *zip(*scopes, strict=True))
        stored = {
            (row["client_id"], row["user_id"], row["key"]): StoredResponse(row["fingerprint"], row["response"])
            for row in rows
        }
        return [stored.get(scope) for scope in scopes]

    _HAS_PLAY = "SELECT EXISTS (SELECT FROM plan_play WHERE id = $1)"

    async def has_play(self, play_id: UUID) -> bool:
        """Return whether a play has this id."""
        return bool(await self._connection.fetchval(self._HAS_PLAY, play_id))


def _outcome(
    creation: Creation, by_hold: dict[UUID, Creation], won: set[UUID], outcomes: dict[UUID, Outcome]
) -> Outcome:
    hold_id = creation.event.hold_id
    if hold_id in won:
        return Outcome.WON if by_hold[hold_id] is creation else Outcome.HAPPENED
    return outcomes[hold_id]


def _columns(creations: Sequence[Creation]) -> list[list[object]]:
    """Turn creations into the statement's parameters, one array each."""
    rows = [
        (
            creation.event.hold_id,
            creation.event.event_id,
            creation.event.event_type,
            creation.event.units,
            creation.play.id,
            creation.play.client_id,
            creation.play.user_id,
            creation.play.plan_id,
            orjson.dumps(list(creation.play.planned_lessons)).decode(),
            creation.play.email,
            creation.play.display_name,
            creation.play.photo_url,
            creation.play.assignment_source,
            creation.play.risk_level,
            creation.play.created_at,
            *_key_columns(creation),
        )
        for creation in creations
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _key_columns(creation: Creation) -> tuple[object, ...]:
    request = creation.request
    if request is None:
        return (None, None, None, None)
    return (request.user_id, request.key, request.fingerprint, creation.response)
