"""Everything this database holds about one user of one client: read, and made nobody's."""

from typing import Any

from activity_service.plays.store import COLUMNS
from service_chassis.database.pool import OPERATOR_TIMEOUT_SECONDS, count_changed
from service_chassis.database.store import Store


class PersonalDataStore(Store):
    """The rows of one user in all tables, through a connection in a transaction that acts for the client.

    It writes tables of plays and of billing: an erasure must take the person out of all of them at once or out of
    none, and one place that names every column which holds a person can be checked as a whole.

    Closes: an erasure against changes of the same plays and against the relay (row locks). Leaves open: plays that
    the user is given meanwhile, which another erasure finds. Rows are returned as they stand: an export is just that.
    """

    _IS_CLIENT_KNOWN = """
        SELECT EXISTS (SELECT FROM plan_play WHERE client_id = $1)
            OR EXISTS (SELECT FROM billable_event WHERE client_id = $1)
    """

    async def is_client_known(self, client_id: str) -> bool:
        """Return whether there is anything of the client."""
        return bool(await self._connection.fetchval(self._IS_CLIENT_KNOWN, client_id))

    # Not the fingerprints of Idempotency-Keys' requests, which nobody can read anything from.
    _LIST_PLAYS = f"""
        SELECT {COLUMNS} FROM plan_play WHERE client_id = $1 AND user_id = $2 ORDER BY created_at, id
    """
    _LIST_PLAYS_OF_EMAIL = f"""
        SELECT {COLUMNS} FROM plan_play
        WHERE client_id = $1 AND user_id IS NULL AND lower(email) = lower($2) ORDER BY created_at, id
    """

    async def list_plays(self, client_id: str, user_id: str) -> list[dict[str, Any]]:
        """Return the user's plays, every column, oldest first."""
        return await self._fetch(self._LIST_PLAYS, client_id, user_id)

    async def list_plays_of_email(self, client_id: str, email: str) -> list[dict[str, Any]]:
        """Return the plays of no user that hold this e-mail address, every column, oldest first."""
        return await self._fetch(self._LIST_PLAYS_OF_EMAIL, client_id, email)

    _LIST_EVENTS = """
        SELECT hold_id, event_id, event_type, outcome, units, created_at
        FROM billable_event WHERE client_id = $1 AND user_id = $2 ORDER BY created_at, hold_id
    """

    async def list_events(self, client_id: str, user_id: str) -> list[dict[str, Any]]:
        """Return the billable events that name the user."""
        return await self._fetch(self._LIST_EVENTS, client_id, user_id)

    _LOCK_EVENTS = """
        SELECT hold_id, outcome = 'happened' AS is_open
        FROM billable_event WHERE client_id = $1 AND user_id = $2 ORDER BY hold_id FOR NO KEY UPDATE
    """

    async def lock_events(self, client_id: str, user_id: str) -> int:
        """Hold the user's events until the transaction ends; return how many of them are not charged yet."""
        return sum(row["is_open"] for row in await self._fetch(self._LOCK_EVENTS, client_id, user_id))

    _ERASE_PLAYS = """
        UPDATE plan_play
        SET user_id = $3, email = NULL, display_name = NULL, photo_url = NULL, fingerprint = NULL
        WHERE client_id = $1 AND user_id = $2
    """

    async def erase_plays(self, client_id: str, user_id: str, pseudonym: str) -> int:
        """Put `pseudonym` in the user's place, and forget email, name, photo and what keys were used for.

        Returns how many plays.
        """
        return await self._change(self._ERASE_PLAYS, client_id, user_id, pseudonym)

    _ERASE_PLAYS_OF_EMAIL = """
        UPDATE plan_play SET email = NULL, display_name = NULL, photo_url = NULL, fingerprint = NULL
        WHERE client_id = $1 AND user_id IS NULL AND lower(email) = lower($2)
    """

    async def erase_plays_of_email(self, client_id: str, email: str) -> int:
        """Forget the person in plays of no user that hold this e-mail address; return how many."""
        return await self._change(self._ERASE_PLAYS_OF_EMAIL, client_id, email)

    _ERASE_EVENTS = "UPDATE billable_event SET user_id = $3 WHERE client_id = $1 AND user_id = $2"

    async def erase_events(self, client_id: str, user_id: str, pseudonym: str) -> int:
        """Put `pseudonym` in the user's place; return how many events named the user."""
        return await self._change(self._ERASE_EVENTS, client_id, user_id, pseudonym)

    async def _fetch(self, statement: str, *arguments: str) -> list[dict[str, Any]]:
        rows = await self._connection.fetch(statement, *arguments, timeout=OPERATOR_TIMEOUT_SECONDS)
        return [dict(row) for row in rows]

    async def _change(self, statement: str, *arguments: str) -> int:
        return count_changed(await self._connection.execute(statement, *arguments, timeout=OPERATOR_TIMEOUT_SECONDS))
