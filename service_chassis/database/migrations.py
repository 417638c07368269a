"""Bring a database to its service's schema: numbered migrations by yoyo, then the functions of `sql/` as they stand.

`<service>/migrations/NNNN_*.sql` holds tables and indexes, each file applied once and never changed. `<service>/sql/`
holds functions, one complete file each: what runs is what stands in the file. A file whose text changed is applied
again, in the same transaction as the migrations.
"""

import hashlib
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
from psycopg import sql
from yoyo import get_backend, read_migrations

_LOCK = 0x6D69677261746531
"""Key of the advisory lock under which migrations run. yoyo's own lock is a row, which a killed process leaves."""

_CREATE_TABLE = """
    CREATE TABLE IF NOT EXISTS sql_function (name text PRIMARY KEY, sha256 bytea NOT NULL);
    GRANT SELECT ON sql_function TO PUBLIC
"""
_LIST_FUNCTIONS = "SELECT name, sha256 FROM sql_function"
_FORGET_FUNCTIONS = "DELETE FROM sql_function WHERE NOT name = ANY (%s)"
_NOTE_FUNCTION = """
    INSERT INTO sql_function (name, sha256) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET sha256 = excluded.sha256
"""
# A changed result type cannot be put in place of the old one, and a changed parameter list would leave the old one
# beside it.
_LIST_OVERLOADS = """
    SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.proname = %s AND n.nspname = current_schema()
"""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a service's database must have: names of migrations, and the text of functions by name."""

    directory: Path
    migrations: frozenset[str]
    functions: Mapping[str, str]

    @classmethod
    def of(cls, directory: Path) -> "Schema":
        """Read the schema of the service whose package is `directory`."""
        return cls(
            directory,
            frozenset(path.stem for path in (directory / "migrations").glob("*.sql")),
            {path.stem: path.read_text() for path in sorted((directory / "sql").glob("*.sql"))},
        )


def apply_schema(dsn: str, schema: Schema) -> list[str]:
    """Apply what the database at `dsn` lacks, all or nothing, and return the names of it, in order.

    Waits for another process that migrates the same database.
    """
    # The lock belongs to a transaction, not to a session: a connection pooler must not keep it for the next client.
    with psycopg.connect(dsn, connect_timeout=10) as guard:
        guard.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        backend = get_backend(_with_driver(dsn))
        # yoyo runs a migration's steps on another connection than the one that notes it: here both are one.
        backend.copy = lambda: nullcontext(backend)
        try:
            pending = backend.to_apply(read_migrations(str(schema.directory / "migrations")))
            with backend.transaction():
                backend.apply_migrations(pending)
                return [migration.id for migration in pending] + _apply_functions(backend, schema.functions)
        finally:
            backend.connection.close()


def _with_driver(dsn: str) -> str:
    """Name psycopg 3 in the URL, as yoyo wants it."""
    _, _, rest = dsn.partition("://")
    return f"postgresql+psycopg://{rest}"


def _apply_functions(backend: Any, functions: Mapping[str, str]) -> list[str]:
    cursor = backend.cursor()
    cursor.execute(_CREATE_TABLE)
    cursor.execute(_FORGET_FUNCTIONS, (list(functions),))
    present = dict(cursor.execute(_LIST_FUNCTIONS).fetchall())
    changed = [name for name, text in functions.items() if present.get(name) != _digest(text)]
    for name in changed:
        for (signature,) in cursor.execute(_LIST_OVERLOADS, (name,)).fetchall():
            cursor.execute(sql.SQL("DROP FUNCTION {}").format(sql.SQL(signature)))
        cursor.execute(functions[name])
        cursor.execute(_NOTE_FUNCTION, (name, _digest(functions[name])))
    return [f"{name} (function)" for name in changed]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


async def check_schema(pool: asyncpg.Pool, schema: Schema) -> None:
    """Raise RuntimeError unless the database has every migration and every function of `schema`, as they stand."""
    async with pool.acquire(timeout=1) as connection:
        applied = {row["migration_id"] for row in await connection.fetch("SELECT migration_id FROM _yoyo_migration")}
        present = dict(await connection.fetch(_LIST_FUNCTIONS))
    missing = schema.migrations - applied
    missing |= {name for name, text in schema.functions.items() if present.get(name) != _digest(text)}
    if missing:
        raise RuntimeError("not migrated: " + ", ".join(sorted(missing)))
