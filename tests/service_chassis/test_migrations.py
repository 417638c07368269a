"""Migrations: each once, whole or not at all, whoever starts them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from service_chassis.database.migrations import apply_migrations, check_migrated, list_migrations
from service_chassis.database.pool import create_pool


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("-- why: first\nCREATE TABLE first (n int);\n")
    (tmp_path / "0002_second.sql").write_text("INSERT INTO first VALUES (1);\nINSERT INTO first VALUES (2);\n")
    return tmp_path


def count_rows(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        [rows] = connection.execute("SELECT count(*) FROM first").fetchone() or [0]
        return int(rows)


def test_what_is_missing_is_applied_in_order_and_once(directory: Path, empty_database: Callable[[], str]) -> None:
    dsn = empty_database()
    assert apply_migrations(dsn, directory) == ["0001_first", "0002_second"]
    assert apply_migrations(dsn, directory) == []
    (directory / "0003_third.sql").write_text("INSERT INTO first VALUES (3);\n")
    assert apply_migrations(dsn, directory) == ["0003_third"]
    assert count_rows(dsn) == 3


def test_a_migration_that_fails_leaves_nothing_and_can_be_mended(
    directory: Path, empty_database: Callable[[], str]
) -> None:
    dsn = empty_database()
    broken = directory / "0003_third.sql"
    broken.write_text("INSERT INTO first VALUES (3);\nINSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(psycopg.errors.UndefinedTable):
        apply_migrations(dsn, directory)
    assert count_rows(dsn) == 2
    broken.write_text("INSERT INTO first VALUES (3);\n")
    assert apply_migrations(dsn, directory) == ["0003_third"]
    assert count_rows(dsn) == 3


async def test_processes_that_migrate_at_once_apply_everything_once(
    directory: Path, empty_database: Callable[[], str]
) -> None:
    dsn = empty_database()
    applied = await asyncio.gather(*(asyncio.to_thread(apply_migrations, dsn, directory) for _ in range(3)))
    assert sorted(applied) == [[], [], ["0001_first", "0002_second"]]
    assert count_rows(dsn) == 2


async def test_a_database_that_lacks_a_migration_is_not_ready(
    directory: Path, empty_database: Callable[[], str]
) -> None:
    dsn = empty_database()
    apply_migrations(dsn, directory)
    pool = await create_pool(dsn, size=1, application_name="test")
    await check_migrated(pool, list_migrations(directory))
    (directory / "0003_third.sql").touch()
    with pytest.raises(RuntimeError, match="0003_third"):
        await check_migrated(pool, list_migrations(directory))
    await pool.close()


async def test_a_pool_bounds_its_statements_and_opens_no_connection_by_itself(
    empty_database: Callable[[], str],
) -> None:
    nowhere = await create_pool("postgresql://nobody@127.0.0.1:1/none", size=1, application_name="test")
    await nowhere.close()
    pool = await create_pool(empty_database(), size=1, application_name="test")
    settings = ["statement_timeout", "lock_timeout", "synchronous_commit", "timezone", "application_name"]
    assert [await pool.fetchval(f"SHOW {name}") for name in settings] == ["4s", "3s", "on", "UTC", "test"]
    await pool.close()
