"""Forward-only SQL migrations, by yoyo, one process at a time."""

from pathlib import Path

import asyncpg
import psycopg
from yoyo import get_backend, read_migrations

_LOCK = 0x6D69677261746531
"""Key of the advisory lock under which migrations run. yoyo's own lock is a row, which a killed process leaves."""


def apply_migrations(dsn: str, directory: Path) -> list[str]:
    """Apply what is missing from `directory` to the database at `dsn` and answer its names, in order.

    Each migration is one transaction. Waits for another process that migrates the same database.
    """
    with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as guard:
        guard.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        backend = get_backend(_with_driver(dsn))
        try:
            pending = backend.to_apply(read_migrations(str(directory)))
            backend.apply_migrations(pending)
            return [migration.id for migration in pending]
        finally:
            backend.connection.close()


def _with_driver(dsn: str) -> str:
    """Name psycopg 3 in the URL, as yoyo wants it."""
    _, _, rest = dsn.partition("://")
    return f"postgresql+psycopg://{rest}"


def list_migrations(directory: Path) -> frozenset[str]:
    """Answer the names of the migrations in `directory`."""
    return frozenset(path.stem for path in directory.glob("*.sql"))


async def check_migrated(pool: asyncpg.Pool, expected: frozenset[str]) -> None:
    """Raise RuntimeError unless the database has every migration that is `expected`."""
    async with pool.acquire(timeout=1) as connection:
        rows = await connection.fetch("SELECT migration_id FROM _yoyo_migration")
    missing = expected - {row["migration_id"] for row in rows}
    if missing:
        raise RuntimeError("not migrated: " + ", ".join(sorted(missing)))
