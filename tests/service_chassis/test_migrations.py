"""Migrations: each once, whole or not at all, whoever starts them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from service_chassis.database import migrations
from service_chassis.database.migrations import Schema, apply_schema, check_schema
from service_chassis.database.pool import open_pool
from service_chassis.errors import OperatorError


def apply(dsn: str, directory: Path) -> list[str]:
    return apply_schema(dsn, Schema.of(directory))


def count_rows(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        [rows] = connection.execute("SELECT count(*) FROM first").fetchone() or [0]
        return int(rows)


def test_what_is_missing_is_applied_in_order_and_once(directory: Path, empty_database: Callable[[], str]) -> None:
    dsn = empty_database()
    assert apply(dsn, directory) == ["0001_first", "0002_second"]
    assert apply(dsn, directory) == []
    (directory / "migrations" / "0003_third.sql").write_text("INSERT INTO first VALUES (3);\n")
    assert apply(dsn, directory) == ["0003_third"]
    assert count_rows(dsn) == 3


def test_a_migration_that_fails_leaves_nothing_and_can_be_mended(
    directory: Path, empty_database: Callable[[], str]
) -> None:
    dsn = empty_database()
    apply(dsn, directory)
    broken = directory / "migrations" / "0003_third.sql"
    broken.write_text("INSERT INTO first VALUES (3);\nINSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(psycopg.errors.UndefinedTable):
        apply(dsn, directory)
    assert count_rows(dsn) == 2
    broken.write_text("INSERT INTO first VALUES (3);\n")
    assert apply(dsn, directory) == ["0003_third"]
    assert count_rows(dsn) == 3


async def test_processes_that_migrate_at_once_apply_everything_once(
    directory: Path, empty_database: Callable[[], str]
) -> None:
    dsn = empty_database()
    applied = await asyncio.gather(*(asyncio.to_thread(apply, dsn, directory) for _ in range(3)))
    assert sorted(applied) == [[], [], ["0001_first", "0002_second"]]
    assert count_rows(dsn) == 2


async def test_a_database_that_lacks_a_migration_is_not_ready(
    directory: Path, empty_database: Callable[[], str]
) -> None:
    dsn = empty_database()
    apply(dsn, directory)
    async with open_pool(dsn, size=1, application_name="test") as pool:
        await check_schema(pool, Schema.of(directory))
        (directory / "migrations" / "0003_third.sql").touch()
        with pytest.raises(RuntimeError, match="0003_third"):
            await check_schema(pool, Schema.of(directory))


def write_function(directory: Path, result: str) -> None:
    (directory / "sql" / "measure.sql").write_text(
        f"CREATE FUNCTION measure() RETURNS {result} LANGUAGE sql AS 'SELECT count(*)::{result} FROM first';\n"
    )


def measure(dsn: str) -> object:
    with psycopg.connect(dsn) as connection:
        return (connection.execute("SELECT pg_typeof(measure())::text, measure()").fetchone() or [None])[:]


def test_a_function_is_applied_again_when_its_text_changed_and_only_then(
    directory: Path, empty_database: Callable[[], str]
) -> None:
    dsn = empty_database()
    write_function(directory, "bigint")
    assert apply(dsn, directory) == ["0001_first", "0002_second", "measure (function)"]
    assert apply(dsn, directory) == []
    write_function(directory, "integer")  # another result: not to be put in place of the first
    assert apply(dsn, directory) == ["measure (function)"]
    assert measure(dsn) == ("integer", 2)


def test_functions_and_migrations_are_applied_all_or_none(directory: Path, empty_database: Callable[[], str]) -> None:
    dsn = empty_database()
    (directory / "sql" / "measure.sql").write_text("CREATE FUNCTION measure() RETURNS nonsense;\n")
    with pytest.raises(psycopg.Error):
        apply(dsn, directory)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT to_regclass('first')").fetchone() == (None,)
    write_function(directory, "bigint")
    assert apply(dsn, directory) == ["0001_first", "0002_second", "measure (function)"]


async def test_a_database_with_another_text_of_a_function_is_not_ready(
    directory: Path, empty_database: Callable[[], str]
) -> None:
    dsn = empty_database()
    write_function(directory, "bigint")
    apply(dsn, directory)
    async with open_pool(dsn, size=1, application_name="test") as pool:
        await check_schema(pool, Schema.of(directory))
        write_function(directory, "integer")
        with pytest.raises(RuntimeError, match="measure"):
            await check_schema(pool, Schema.of(directory))


def test_an_earlier_version_of_the_same_service_may_migrate_again(
    directory: Path, empty_database: Callable[[], str]
) -> None:
    dsn = empty_database()
    apply(dsn, directory)
    (directory / "migrations" / "0002_second.sql").unlink()
    assert apply(dsn, directory) == []


def test_a_lock_that_is_not_given_back_is_told_and_not_waited_for_without_end(
    directory: Path, empty_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(migrations, "LOCK_POLL_SECONDS", 0.05)
    dsn = empty_database()
    told: list[str] = []
    with psycopg.connect(dsn) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (migrations._LOCK,))
        with pytest.raises(OperatorError, match="pg_locks"):
            apply_schema(dsn, Schema.of(directory), told.append)
    assert len(told) == 1
