"""The servers the product stands on, and the databases in them; importable by tests."""

from collections.abc import Mapping

import psycopg
from marshmallow import ValidationError
from psycopg import sql

from local_stack.errors import StackError
from local_stack.postgres_server import PostgresServer
from local_stack.redis_server import RedisServer
from service_chassis.database.url import read_database_url, with_database

__all__ = ["PostgresServer", "RedisServer", "create_databases", "dsn_for_database"]


SERVICE_ROLES = {"catalog": "catalog_service", "activity": "activity_service"}
"""By database, the role that its service acts as: it owns nothing, so that row-level security binds it. Where the
role of the URL may make roles, the migrations bring it themselves."""


def create_databases(administrator_dsn: str, passwords: Mapping[str, str | None]) -> None:
    """Create what is absent, leave what is there. Passwords are set again: the state directory is their source.

    `passwords` names the databases: one with a password belongs to a role of its name that may log in with it.
    `administrator_dsn` must be allowed to create databases, and roles where a password is given. Without a
    password the administrator's own role is the owner: on somebody's existing server we make no accounts.

    Raises StackError when the server refuses or does not answer.
    """
    try:
        with psycopg.connect(administrator_dsn, autocommit=True, connect_timeout=10) as connection:
            for database, password in passwords.items():
                _create_database(connection, database, password)
    except psycopg.Error as error:
        server = read_database_url(administrator_dsn).get("host", "this machine")
        raise StackError(
            f"cannot create the databases on {server}: {' '.join(str(error).split())}; check POSTGRES_DSN"
        ) from error


def dsn_for_database(dsn: str, database: str) -> str:
    """Return the same server and role with another database.

    Raises StackError unless `dsn` is a postgresql:// URL.
    """
    try:
        return with_database(dsn, database)
    except ValidationError as error:
        raise StackError(f"POSTGRES_DSN: {' '.join(error.messages)}") from None


def _create_database(connection: psycopg.Connection[tuple[object, ...]], database: str, password: str | None) -> None:
    name = sql.Identifier(database)
    if password is not None:
        exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [database]).fetchone()
        verb = sql.SQL("ALTER ROLE" if exists else "CREATE ROLE")
        connection.execute(sql.SQL("{} {} LOGIN PASSWORD {}").format(verb, name, sql.Literal(password)))
        _create_service_role(connection, database)
    if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
        # The same order of text everywhere, whatever the server's own locale is.
        shape = sql.SQL("TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
        owner = sql.SQL("OWNER {}").format(name) if password is not None else sql.SQL("")
        connection.execute(sql.SQL("CREATE DATABASE {} {} {}").format(name, owner, shape))
        if password is not None:
            connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(name))


def _create_service_role(connection: psycopg.Connection[tuple[object, ...]], database: str) -> None:
    role = SERVICE_ROLES.get(database)
    if role is None:
        return
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
    connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(database)))
