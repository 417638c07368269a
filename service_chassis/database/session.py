"""What a session has, held against what it was begun with: poolers and roles change it without a word."""

from collections.abc import Mapping

import asyncpg

from service_chassis.database.tenancy import ALL_CLIENTS
from service_chassis.errors import OperatorError


class SessionNotAsAsked(OperatorError):
    """The server, or a pooler in front of it, did not take what the connection began with; the text names it."""


# What the server lists has its figure in the list, without a unit; what it does not list is as it was given.
_LIST_SETTINGS = """
    SELECT name, coalesce((SELECT setting FROM pg_settings WHERE pg_settings.name = asked.name),
                          current_setting(asked.name, true))
    FROM unnest($1::text[]) AS asked (name)
"""


async def require_as_asked(connection: asyncpg.Connection, settings: Mapping[str, str]) -> None:
    """Raise SessionNotAsAsked unless the session has the `settings` that it began with, and no right beyond them.

    A pooler may drop them without a word; without its role a session would see the rows of all clients, and so it
    would where `ALTER ROLE ... SET` gives every session what few ask for.
    """
    asked = {**dict.fromkeys(ALL_CLIENTS, ""), **settings}
    actual = dict(await connection.fetch(_LIST_SETTINGS, list(asked)))
    missing = [name for name, value in asked.items() if (actual[name] or "").lower() != value.lower()]
    if beyond := [name for name in missing if name not in settings]:
        raise SessionNotAsAsked(
            f"the session has what it did not ask for: {', '.join(beyond)}. No role, database or pooler may set it"
        )
    if missing:
        raise SessionNotAsAsked(
            f"the session lacks what it was begun with: {', '.join(missing)}. A pooler in front of the database "
            "must hand on startup parameters; connect without one that does not"
        )
