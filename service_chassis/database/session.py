"""What a session has, compared with what was asked for: poolers and roles change it without a word."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg

from service_chassis.database.tenancy import ALL_CLIENTS
from service_chassis.errors import OperatorError


class SessionNotAsAsked(OperatorError):
    """The server, or a pooler in front of it, did not give the session what was asked for; the text names it."""


# What the server lists has its figure in the list, without a unit; what it does not list is as it was given. A login
# that is the role itself has not set it.
_LIST_SETTINGS = """
    SELECT name, CASE name WHEN 'role' THEN current_user ELSE
        coalesce((SELECT setting FROM pg_settings WHERE pg_settings.name = asked.name),
                 current_setting(asked.name, true)) END
    FROM unnest($1::text[]) AS asked (name)
"""


async def require_as_asked(connection: asyncpg.Connection, settings: Mapping[str, str]) -> None:
    """Raise SessionNotAsAsked unless the session has the `settings` asked for, and no right beyond them.

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
            f"the session lacks what was asked for: {', '.join(missing)}. A pooler in front of the database "
            "must hand on startup parameters, or be served through with logins that have it (deploy/pooler.sql)"
        )


# The statement itself is one of those that it looks for: a pooler that has statements follow its clients gives them
# names of its own.
_IS_FOLLOWED = r"SELECT NOT EXISTS (SELECT FROM pg_prepared_statements WHERE name LIKE '\_\_asyncpg\_%')"


async def require_followed_statements(connection: asyncpg.Connection) -> None:
    """Raise SessionNotAsAsked unless a pooler makes prepared statements known to whichever server it hands out.

    Otherwise one client's statement would be executed by the name of another's.
    """
    if not await connection.fetchval(_IS_FOLLOWED):
        raise SessionNotAsAsked(
            "there is no pooler whose clients' prepared statements follow them from server to server, as PgBouncer's "
            "do from version 1.21 on with max_prepared_statements"
        )


def connect_as(role: str) -> Callable[..., Awaitable[asyncpg.Connection]]:
    """Return what connects as asyncpg does, and raises SessionNotAsAsked where there is no such `role` to act as."""

    async def connect(*arguments: Any, **options: Any) -> asyncpg.Connection:
        try:
            return await asyncpg.connect(*arguments, **options)
        except asyncpg.InvalidParameterValueError as error:
            # By its name: the server speaks whatever language it was told to.
            if not role or f'"{role}"' not in str(error):
                raise
            raise SessionNotAsAsked(
                f"there is no role {role}; ..._POSTGRES_ROLE must name one that `migrate` has made"
            ) from error

    return connect
