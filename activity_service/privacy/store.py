"""Everything this database holds about one user of one client: read, and made nobody's."""

from typing import Any

import asyncpg

from activity_service.plays.store import COLUMNS
from service_chassis.database.pool import OPERATOR_TIMEOUT_SECONDS, count_changed


class PersonalDataStore:
    """The rows of one user in all tables, through a connection in a transaction that acts for the client.

    Closes: an erasure against changes of the same plays and against the relay (row locks). Leaves open: plays that
    the user is given meanwhile, which another erasure finds.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    _LIST_PLAYS = f"""
        SELECT {COLUMNS} FROM plan_play WHERE client_id = $1 AND user_id = $2 ORDER BY created_at, id
    """
    _LIST_KEYS = """
        SELECT kept.key, kept.user_id, kept.plan_play_id, kept.status, kept.response, kept.created_at
        FROM idempotency_key AS kept JOIN plan_play ON plan_play.id = kept.plan_play_id
        WHERE kept.client_id = $1 AND plan_play.client_id = $1 AND plan_play.user_id = $2
        ORDER BY kept.created_at, kept.key
    """
    _LIST_EVENTS = """
        SELECT hold_id, event_id, event_type, outcome, units, created_at, settled_at
        FROM billable_event WHERE client_id = $1 AND user_id = $2 ORDER BY created_at, hold_id
    """

    async def list_plays(self, client_id: str, user_id: str) -> list[Any]:
        """Answer the user's plays, every column, oldest first."""
        return await self._fetch(self._LIST_PLAYS, client_id, user_id)

    async def list_kept_answers(self, client_id: str, user_id: str) -> list[Any]:
        """Answer what is kept for Idempotency-Keys of the user's plays; `response` repeats a play's fields."""
        return await self._fetch(self._LIST_KEYS, client_id, user_id)

    async def list_events(self, client_id: str, user_id: str) -> list[Any]:
        """Answer the billable events that name the user."""
        return await self._fetch(self._LIST_EVENTS, client_id, user_id)

    _LOCK_EVENTS = """
        SELECT hold_id, outcome = 'happened' AND settled_at IS NULL AS is_open
        FROM billable_event WHERE client_id = $1 AND user_id = $2 ORDER BY hold_id FOR NO KEY UPDATE
    """

    async def lock_events(self, client_id: str, user_id: str) -> int:
        """Hold the user's events until the transaction ends; answer how many of them are not charged yet."""
        rows = await self._fetch(self._LOCK_EVENTS, client_id, user_id)
        return sum(row["is_open"] for row in rows)

    _DELETE_KEYS = """
        DELETE FROM idempotency_key AS kept USING plan_play
        WHERE plan_play.id = kept.plan_play_id AND kept.client_id = $1
          AND plan_play.client_id = $1 AND plan_play.user_id = $2
    """
    _ERASE_PLAYS = """
        UPDATE plan_play SET user_id = $3, email = NULL, display_name = NULL, photo_url = NULL
        WHERE client_id = $1 AND user_id = $2
    """
    _ERASE_EVENTS = "UPDATE billable_event SET user_id = $3 WHERE client_id = $1 AND user_id = $2"

    async def erase(self, client_id: str, user_id: str, pseudonym: str) -> tuple[int, int, int]:
        """Put `pseudonym` in the user's place; answer how many plays, kept answers and events named the user."""
        answers = await self._change(self._DELETE_KEYS, client_id, user_id)
        plays = await self._change(self._ERASE_PLAYS, client_id, user_id, pseudonym)
        events = await self._change(self._ERASE_EVENTS, client_id, user_id, pseudonym)
        return plays, answers, events

    async def _fetch(self, statement: str, *arguments: str) -> list[Any]:
        rows: list[Any] = await self._connection.fetch(statement, *arguments, timeout=OPERATOR_TIMEOUT_SECONDS)
        return rows

    async def _change(self, statement: str, *arguments: str) -> int:
        status: str = await self._connection.execute(statement, *arguments, timeout=OPERATOR_TIMEOUT_SECONDS)
        return count_changed(status)
