"""Plan plays in PostgreSQL: read, listed, changed, ended. Inserting is in creation_store.

Every statement names the client, and its transaction tells it to row-level security (database/tenancy.py).
"""

from datetime import UTC, datetime
from uuid import UUID

from activity_service.errors import PlanPlayNotFound
from activity_service.plays.plan_play import Fields, PlanPlay, PlanPlayFilter, Position
from metering_client.hold import Charge
from service_chassis.database.store import Store
from service_chassis.database.tenancy import CALLER

POOL_SETTINGS = {
    # Every statement here has its index, in its order. Plans are kept, and one made while a table was small would
    # read or sort the whole of it for as long as nobody analyzes it.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    # So there is nothing that a plan for the very parameters could do better, and each costs more than a page of it.
    "plan_cache_mode": "force_generic_plan",
}

COLUMNS = """id, client_id, user_id, plan_id, status, planned_lessons, current_lesson_index, completed_lessons,
    completed_lesson_plays, total_lessons_completed, email, display_name, photo_url, assignment_source, risk_level,
    created_at, updated_at, last_played_at, completed_at, first_ended_at"""
"""In the order of PlanPlay's fields."""
PLAN_PLAY = COLUMNS.replace("id,", "id::text,", 1)
"""The same, to be read into a PlanPlay. Not within a list in the order of ids, which would then be that of texts."""
_COLUMNS_OF_PLAY = ", ".join(f"play.{name.strip()}" for name in PLAN_PLAY.split(","))

_FIRST = Position(datetime.max.replace(tzinfo=UTC), str(UUID(int=2**128 - 1)))
"""Before every play: asyncpg sends datetime.max as `infinity`."""


class PlanPlayStore(Store):
    """The table `plan_play`, through one connection that the caller holds; changes in a transaction of `begin_for`.

    A first end is in the transaction of its `Charge`. Closes: two first completions at once (the play's row lock,
    then `first_ended_at`), a completion against the sweeper (the fence's primary key), a completion against an
    erasure of its user, whom the event would name again (the play's row lock, then its user). Leaves to the fence: a
    response to COMMIT that is lost.
    Leaves open: two changes of one play at once. Each changes only the fields it names; the later one of a
    field stands.
    """

    _FETCH_PLAN_PLAY = f"""
        SELECT {_COLUMNS_OF_PLAY} FROM {CALLER} CROSS JOIN LATERAL (
            SELECT {COLUMNS} FROM plan_play WHERE client_id = caller.client_id AND id = $2 OFFSET 0
        ) AS play
    """

    async def fetch_plan_play(self, client_id: str, play_id: str) -> PlanPlay | None:
        """Return the client's play, or None when it has no such play."""
        row = await self._connection.fetchrow(self._FETCH_PLAN_PLAY, client_id, play_id)
        return row and PlanPlay(*row)

    _EXISTS = "SELECT plan_play_exists($1)"

    async def exists_for_anybody(self, play_id: str) -> bool:
        """Return whether any client has this play: the one question that reaches through the isolation."""
        return bool(await self._connection.fetchval(self._EXISTS, play_id))

    _UPDATE_PLAN_PLAY = f"""
        UPDATE plan_play SET
            status = coalesce($3, status),
            current_lesson_index = coalesce($4, current_lesson_index),
            completed_lessons = coalesce($5, completed_lessons),
            completed_lesson_plays = coalesce($6, completed_lesson_plays),
            total_lessons_completed = coalesce($7, total_lessons_completed),
            completed_at = coalesce($8, completed_at, $10),
            last_played_at = coalesce($9, last_played_at),
            first_ended_at = coalesce(first_ended_at, $10),
            updated_at = $2
        WHERE id = $1 AND client_id = $11
        RETURNING {PLAN_PLAY}
    """

    async def update_plan_play(
        self,
        client_id: str,
        play_id: str,
        changes: Fields,
        now: datetime,
        *,
        first_ended_at: datetime | None = None,
    ) -> PlanPlay:
        """Change what `changes` names and return the play as it now is. Raises PlanPlayNotFound.

        `first_ended_at` where they are the play's first end: without it, they would break plan_play_ended_is_billed.
        """
        row = await self._connection.fetchrow(
            self._UPDATE_PLAN_PLAY,
            play_id,
            now,
            changes.get("status"),
            changes.get("current_lesson_index"),
            changes.get("completed_lessons"),
            changes.get("completed_lesson_plays"),
            changes.get("total_lessons_completed"),
            changes.get("completed_at"),
            changes.get("last_played_at"),
            first_ended_at,
            client_id,
        )
        if row is None:
            raise PlanPlayNotFound
        return PlanPlay(*row)

    # Sets the client for the whole transaction.
    _LOCK = f"""
        SELECT play.first_ended_at FROM {CALLER} CROSS JOIN LATERAL (
            SELECT first_ended_at FROM plan_play
            WHERE client_id = caller.client_id AND id = $2 AND user_id IS NOT DISTINCT FROM $3 FOR NO KEY UPDATE
        ) AS play
    """

    async def complete_plan_play(self, play: PlanPlay, changes: Fields, charge: Charge, now: datetime) -> PlanPlay:
        """Apply `changes`, which end the play for the first time in its life, and return the play as it then is.

        Raises PlanPlayNotFound where there is no such play of this user any more: it was deleted, or the user was
        erased. One that ended before, by another request, is changed all the same.
        """
        row = await self._connection.fetchrow(self._LOCK, play.client_id, play.id, play.user_id)
        if row is None:
            raise PlanPlayNotFound
        if row["first_ended_at"] is not None:
            # Whatever the fence says: metering was restored, and knows the fact by this hold alone, or it was billed.
            await charge.fence()
        return await self.update_plan_play(
            play.client_id, play.id, changes, now, first_ended_at=row["first_ended_at"] or now
        )

    # Two statements instead of one with an optional user: each has its index, whatever the planner estimates.
    # A join with the one row of CALLER keeps the order of the inner rows.
    _LIST_OF_CLIENT = f"""
        SELECT {_COLUMNS_OF_PLAY} FROM {CALLER} CROSS JOIN LATERAL (
            SELECT {COLUMNS} FROM plan_play
            WHERE client_id = caller.client_id AND (created_at, id) < ($2, $3)
              AND ($4::text IS NULL OR status = $4) AND ($5::text IS NULL OR plan_id = $5)
            ORDER BY created_at DESC, id DESC LIMIT $6
        ) AS play
    """
    _LIST_OF_USER = f"""
        SELECT {_COLUMNS_OF_PLAY} FROM {CALLER} CROSS JOIN LATERAL (
            SELECT {COLUMNS} FROM plan_play
            WHERE client_id = caller.client_id AND user_id = $7 AND (created_at, id) < ($2, $3)
              AND ($4::text IS NULL OR status = $4) AND ($5::text IS NULL OR plan_id = $5)
            ORDER BY created_at DESC, id DESC LIMIT $6
        ) AS play
    """

    async def list_plan_plays(
        self, wanted: PlanPlayFilter, limit: int, after: Position | None = None
    ) -> list[PlanPlay]:
        """Return up to `limit` plays, newest first, that come after the position `after`."""
        statement, parameters = self._list_statement(wanted, after or _FIRST, limit)
        return [PlanPlay(*row) for row in await self._connection.fetch(statement, *parameters)]

    def _list_statement(self, wanted: PlanPlayFilter, after: Position, limit: int) -> tuple[str, tuple[object, ...]]:
        parameters = (wanted.client_id, after.created_at, after.play_id, wanted.status, wanted.plan_id, limit)
        if wanted.user_id is None:
            return self._LIST_OF_CLIENT, parameters
        return self._LIST_OF_USER, (*parameters, wanted.user_id)
