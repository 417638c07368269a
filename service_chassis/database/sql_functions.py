"""The functions of `<service>/sql/`: one complete file each, and what runs is what stands in the file.

A text that changed takes the place of the one before, under the calls that use it. The processes of the version
before go on calling it, and may start again, so it keeps its name, parameters and result; one that cannot gets a new
name. The table `sql_function` remembers the texts that were in force, so that such a process knows its own.
"""

import hashlib
from collections.abc import Mapping, Set

import asyncpg
import psycopg
from psycopg import sql

_CREATE_TABLE = """
    CREATE TABLE IF NOT EXISTS sql_function (
        name text, number bigint GENERATED ALWAYS AS IDENTITY, sha256 bytea NOT NULL, PRIMARY KEY (name, number));
    GRANT SELECT ON sql_function TO PUBLIC
"""
_LIST_IN_FORCE = """
    SELECT DISTINCT ON (name) name, sha256 FROM sql_function WHERE to_regproc(quote_ident(name)) IS NOT NULL
    ORDER BY name, number DESC
"""
_LIST_EVER = "SELECT name, sha256 FROM sql_function"
# A text that comes again, as when somebody goes back to the version before, ends those that came after it.
_FORGET_SINCE = """
    DELETE FROM sql_function AS f WHERE name = %(name)s AND EXISTS (
        SELECT FROM sql_function WHERE name = f.name AND sha256 = %(sha256)s AND number <= f.number)
"""
_NOTE = "INSERT INTO sql_function (name, sha256) VALUES (%(name)s, %(sha256)s)"
_LIST_SIGNATURES = """
    SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.proname = %s AND n.nspname = current_schema()
"""


def apply_functions(connection: psycopg.Connection, functions: Mapping[str, str]) -> list[str]:
    """Put those of `functions`, texts by name, in force that are not; return their names. The caller has begun."""
    connection.execute(_CREATE_TABLE)
    in_force: dict[str, bytes] = dict(connection.execute(_LIST_IN_FORCE).fetchall())
    changed = [name for name, text in functions.items() if in_force.get(name) != _digest(text)]
    for name in changed:
        _apply(connection, name, functions[name])
        note = {"name": name, "sha256": _digest(functions[name])}
        connection.execute(_FORGET_SINCE, note)
        connection.execute(_NOTE, note)
    return [f"{name} (function)" for name in changed]


def _apply(connection: psycopg.Connection, name: str, text: str) -> None:
    def list_signatures() -> set[str]:
        return {signature for (signature,) in connection.execute(_LIST_SIGNATURES, (name,))}

    def drop(signatures: Set[str]) -> None:
        for signature in signatures:
            connection.execute(sql.SQL("DROP FUNCTION {}").format(sql.SQL(signature)))

    before = list_signatures()
    # Dropped and made anew, it would be missed by a call that was being planned.
    text = text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
    try:
        with connection.transaction():
            connection.execute(text)
    except psycopg.errors.InvalidFunctionDefinition:
        # Another result, which cannot take the place of what was there.
        drop(before)
        connection.execute(text)
    else:
        if list_signatures() != before:
            # Other parameters, which would leave the one before beside it.
            drop(before)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


async def list_missing(connection: asyncpg.Connection, functions: Mapping[str, str]) -> set[str]:
    """Return the names of those of `functions` that were never in force as they stand: not migrated."""
    ever = {(name, digest) for name, digest in await connection.fetch(_LIST_EVER)}
    return {name for name, text in functions.items() if (name, _digest(text)) not in ever}
