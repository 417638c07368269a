"""Migrations: each once, whole or not at all, whoever starts them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from service_chassis.database.migrations import Schema, apply_schema, check_schema
from service_chassis.database.pool import open_pool


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


async def test_a_process_of_the_version_before_is_ready_after_the_next_one_was_migrated(
    directory: Path, empty_database: Callable[[], str]
) -> None:
    dsn = empty_database()
    write_function(directory, "bigint")
    apply(dsn, directory)
    before = Schema.of(directory)
    write_function(directory, "integer")
    (directory / "migrations" / "0003_third.sql").write_text("ALTER TABLE first ADD COLUMN m int;\n")
    apply(dsn, directory)
    after = Schema.of(directory)
    async with open_pool(dsn, size=1, application_name="test") as pool:
        await check_schema(pool, before)
        await check_schema(pool, after)
        # Somebody goes back: then the next version's text is in force no more.
        assert apply_schema(dsn, before) == ["measure (function)"]
        await check_schema(pool, before)
        with pytest.raises(RuntimeError, match="measure"):
            await check_schema(pool, after)


def test_a_function_of_the_same_shape_is_put_in_place_of_the_one_before(
    directory: Path, empty_database: Callable[[], str]
) -> None:
    """Made anew it would have another number, and a call that is being planned would miss it."""
    dsn = empty_database()
    text = "CREATE FUNCTION measure(p int) RETURNS int LANGUAGE sql AS 'SELECT {}';\n"
    (directory / "sql" / "measure.sql").write_text(text.format("p"))
    apply(dsn, directory)
    number = find_function(dsn)
    (directory / "sql" / "measure.sql").write_text(text.format("p + 1"))
    assert apply(dsn, directory) == ["measure (function)"]
    assert find_function(dsn) == number
    (directory / "sql" / "measure.sql").write_text(text.format("p + 1").replace("p int", "p int, q int"))
    apply(dsn, directory)
    [(_, arguments)] = find_function(dsn)
    assert arguments == "p integer, q integer"


def test_a_function_that_was_dropped_is_made_again(directory: Path, empty_database: Callable[[], str]) -> None:
    dsn = empty_database()
    write_function(directory, "bigint")
    apply(dsn, directory)
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP FUNCTION measure")
    assert apply(dsn, directory) == ["measure (function)"]


def find_function(dsn: str) -> list[tuple[int, str]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "SELECT oid, pg_get_function_arguments(oid) FROM pg_proc WHERE proname = 'measure'"
        ).fetchall()
