"""From the last release to this one: its databases are brought here, and its processes go on working on them."""

from collections.abc import Callable
from difflib import unified_diff
from itertools import islice
from typing import Any

import orjson
import psycopg
import pytest

from prove.breakable_stack import schema_of
from service_chassis.database.migrations import apply_schema
from tests.conftest import FreshDatabase
from tests.upgrade.baseline import DIRECTORY, RETAKE, SERVICES, digest_migrations, dump, restore
from tests.upgrade.recording import replay

pytestmark = [pytest.mark.parametrize("service", SERVICES), pytest.mark.system]


def read(service: str, name: str) -> Any:
    return orjson.loads((DIRECTORY / service / name).read_bytes())


@pytest.fixture
def upgraded(service: str, empty_database: Callable[[], str]) -> str:
    """The URL of the last release's database after this version's `migrate`."""
    dsn = empty_database()
    restore(service, dsn)
    apply_schema(dsn, schema_of(f"{service}_service"))
    return dsn


def test_a_released_migration_is_as_it_was(service: str) -> None:
    released, present = read(service, "migrations.json"), digest_migrations(service)
    assert {name: present.get(name) for name in released} == released, f"{service}: {RETAKE}"


def test_a_database_migrated_step_by_step_is_the_same_as_a_fresh_one(
    service: str, upgraded: str, fresh_database: FreshDatabase
) -> None:
    assert_same(dump(upgraded, with_rows=False), dump(fresh_database(f"{service}_service"), with_rows=False))


def assert_same(stepwise: str, fresh: str) -> None:
    difference = unified_diff(stepwise.splitlines(), fresh.splitlines(), "step by step", "fresh", lineterm="", n=1)
    told = "\n".join(islice(difference, 40))
    assert not told, told


async def test_what_the_processes_of_the_last_release_send_is_answered_as_it_was(service: str, upgraded: str) -> None:
    document = read(service, "statements.json")
    for statement, result in zip(document["statements"], await replay(upgraded, document), strict=True):
        expected, text = statement["result"], document["texts"][statement["text"]]
        assert {name: result.get(name) for name in expected} == expected, text


BREAKING = {
    "a column gone": "ALTER TABLE {table} RENAME COLUMN created_at TO made_at",
    "a column that must be told": "ALTER TABLE {table} ADD COLUMN told text NOT NULL",
    "a value refused": "ALTER TABLE {table} ADD CONSTRAINT fewer CHECK (created_at < '2000-01-01')",
}
TABLES = {"catalog": "client", "activity": "plan_play", "metering": "policy_version"}


@pytest.mark.parametrize("change", BREAKING)
async def test_a_migration_that_the_last_release_cannot_live_with_is_found(
    service: str, upgraded: str, change: str
) -> None:
    with psycopg.connect(upgraded) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM " + TABLES[service])
        connection.execute(BREAKING[change].format(table=TABLES[service]))
    with pytest.raises(AssertionError):
        await test_what_the_processes_of_the_last_release_send_is_answered_as_it_was(service, upgraded)


def test_a_step_that_a_fresh_database_does_not_take_is_found(
    service: str, empty_database: Callable[[], str], fresh_database: FreshDatabase
) -> None:
    """What was left behind by hand or by a function that is no more."""
    dsn = empty_database()
    restore(service, dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE FUNCTION of_the_last_release() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    apply_schema(dsn, schema_of(f"{service}_service"))
    with pytest.raises(AssertionError, match="of_the_last_release"):
        test_a_database_migrated_step_by_step_is_the_same_as_a_fresh_one(service, dsn, fresh_database)
