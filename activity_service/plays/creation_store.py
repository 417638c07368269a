"""New plays in PostgreSQL: play and fence in one statement, for many requests at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import orjson

from activity_service.plays.plan_play import PlanPlay
from activity_service.plays.store import PLAN_PLAY
from metering_client.event import BillableEvent, Grant
from metering_client.fence_store import insert_fences
from service_chassis.database.store import Store

REFUSED_ROWS = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)
"""What a single creation of a batch can cause: the database refused it for certain, and nothing of it is stored.
Every other error of the statement leaves open whether it was committed."""


@dataclass(slots=True)
class Creation:
    """A play to be stored together with the event that bills it, under the grant that metering gave.

    `fingerprint` is that of the request's body, for a create with a key.
    """

    play: PlanPlay
    event: BillableEvent
    grant: Grant
    fingerprint: bytes | None


@dataclass(slots=True)
class Stored:
    """What came of a creation: whether its play was stored by it, and whether its event now stands in the outbox.

    Both: created. The event alone: the play was there already, and metering, restored, did not know its charge.
    Neither: the hold was given up, is too old, or was used by another request for the same play.
    """

    is_new: bool
    is_announced: bool


class CreationStore(Store):
    """Inserts into `plan_play` and `billable_event`, all or nothing per creation.

    `billable_event` is the library's table, and so is the part of the statement that writes it
    (metering_client/fence_store.py): the fence of a create is in one statement with its play, for many creates in one
    trip to the server.

    Closes: two creations of one play (the fence lets one of those that share a hold through, the play's key one of
    all), a creation against the sweeper (the fence again), creations of two processes that wait for each other
    (fences are written in the order of their ids, then plays in the order of theirs). A play that is there already
    breaks no batch.
    """

    # Statement and transaction are one: what is answered is committed. All creations travel as one JSON text, which
    # costs half of what a list for each column does. A creation granted as settled brings no row for the fence.
    _INSERT = f"""
        WITH item AS MATERIALIZED (
            SELECT * FROM json_to_recordset($1::json) AS item (
                n integer, hold_id uuid, held_at timestamptz, attempted bigint, event_id text, event_type text,
                units bigint, id uuid, client_id text, user_id text, plan_id text, planned_lessons text[], email text,
                display_name text, photo_url text, assignment_source text, risk_level text, created_at timestamptz,
                fingerprint bytea, request_id text, traceparent text)
        ), fence AS ({insert_fences(retention="$2")}
        ), play AS (
            INSERT INTO plan_play
                (id, client_id, user_id, plan_id, status, planned_lessons, current_lesson_index, completed_lessons,
                 completed_lesson_plays, total_lessons_completed, email, display_name, photo_url, assignment_source,
                 risk_level, created_at, updated_at, fingerprint)
            SELECT id, client_id, user_id, plan_id, 'active', planned_lessons, 0, '{{}}', '{{}}', 0, email,
                   display_name, photo_url, assignment_source, risk_level, created_at, created_at, fingerprint
            FROM item LEFT JOIN fence USING (hold_id)
            WHERE fence.hold_id IS NOT NULL OR item.held_at IS NULL
            ORDER BY id
            ON CONFLICT ON CONSTRAINT plan_play_pkey DO NOTHING
            RETURNING id
        )
        SELECT item.n, play.id IS NOT NULL, fence.hold_id IS NOT NULL
        FROM item LEFT JOIN fence USING (hold_id) LEFT JOIN play USING (id)
        WHERE fence.hold_id IS NOT NULL OR play.id IS NOT NULL
    """

    async def insert_plan_plays(self, creations: Sequence[Creation], retention: timedelta) -> list[Stored]:
        """Store every creation that may be; return what came of each, in order.

        Raises one of REFUSED_ROWS when the database refuses one of them: then none is stored. After any other
        error what was stored is unknown.
        """
        # Two requests with one key share a play: the first of them goes, the others find what became of it.
        first_of: dict[str, int] = {}
        for number, creation in enumerate(creations):
            first_of.setdefault(creation.play.id, number)
        items = [_as_item(number, creations[number]) for number in first_of.values()]
        stored = [Stored(is_new=False, is_announced=False)] * len(creations)
        for number, is_new, is_announced in await self._connection.fetch(
            self._INSERT, orjson.dumps(items).decode(), retention
        ):
            stored[number] = Stored(is_new, is_announced)
        return stored

    _LIST = f"SELECT {PLAN_PLAY}, fingerprint FROM plan_play WHERE id = ANY ($1::uuid[])"

    async def list_plays(self, play_ids: Sequence[str]) -> list[tuple[PlanPlay, bytes | None] | None]:
        """Return each play with the fingerprint of the request that made it, in order; None where there is none."""
        rows = await self._connection.fetch(self._LIST, play_ids)
        found = {row[0]: (PlanPlay(*row[:-1]), row[-1]) for row in map(tuple, rows)}
        return [found.get(play_id) for play_id in play_ids]


def _as_item(number: int, creation: Creation) -> dict[str, object]:
    play, event, grant = creation.play, creation.event, creation.grant
    return {
        "n": number,
        "hold_id": grant.hold_id,
        "held_at": grant.held_at,
        "attempted": grant.attempted_milliseconds,
        "event_id": event.event_id,
        "event_type": event.event_type,
        "units": event.units,
        "id": play.id,
        "client_id": play.client_id,
        "user_id": play.user_id,
        "plan_id": play.plan_id,
        "planned_lessons": play.planned_lessons,
        "email": play.email,
        "display_name": play.display_name,
        "photo_url": play.photo_url,
        "assignment_source": play.assignment_source,
        "risk_level": play.risk_level,
        "created_at": play.created_at,
        "fingerprint": None if creation.fingerprint is None else f"\\x{creation.fingerprint.hex()}",
        "request_id": event.origin and event.origin.request_id,
        "traceparent": event.origin and event.origin.traceparent,
    }
