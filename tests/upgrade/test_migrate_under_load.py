"""`migrate` of the next version runs while this one serves: callers see nothing of it, nor of a restart after it."""

import asyncio
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest

from prove.breakable_stack import schema_of
from service_chassis.database.migrations import Schema, apply_schema
from tests.deploy.proxy import NEEDS_HAPROXY
from tests.deploy.test_rolling_restart import CLIENT, Fleet, call_all_day, databases, fleet  # noqa: F401 - fixtures

EXPANSION = {
    "catalog": ("plan", "signing_key"),
    "activity": ("plan_play", "billable_event"),
    "metering": ("hold", "ledger_entry", "account", "usage"),
}
"""The tables that this version's hot paths read and write, which the next one adds to."""


@pytest.fixture
def next_version(tmp_path: Path) -> dict[str, Schema]:
    """The services' schemas with a made-up migration more, and every function with another text."""
    schemas = {}
    for service, tables in EXPANSION.items():
        package = schema_of(f"{service}_service").directory
        copy = tmp_path / "next" / package.name
        for folder in ("migrations", "sql"):
            if (package / folder).exists():
                shutil.copytree(package / folder, copy / folder)
        for path in (copy / "sql").glob("*.sql"):
            path.write_text(path.read_text() + "-- The next version's.\n")
        (copy / "migrations" / "9001_expand.sql").write_text(
            "".join(f"ALTER TABLE {table} ADD COLUMN added bigint NOT NULL DEFAULT 0;\n" for table in tables)
        )
        (copy / "migrations" / "9002_index.sql").write_text(
            "-- transactional: false\n"
            + "".join(
                f"DROP INDEX CONCURRENTLY IF EXISTS {table}_by_added;\n"
                f"CREATE INDEX CONCURRENTLY {table}_by_added ON {table} (added);\n"
                for table in tables
            )
        )
        schemas[service] = Schema.of(copy, schema_of(f"{service}_service").role)
    return schemas


@NEEDS_HAPROXY
async def test_no_request_fails_while_the_next_version_migrates_and_this_one_restarts(
    fleet: Fleet,  # noqa: F811
    databases: dict[str, str],  # noqa: F811
    next_version: dict[str, Schema],
) -> None:
    outcomes: Counter[Any] = Counter()
    stop = asyncio.Event()
    workers = [asyncio.create_task(call_all_day(fleet.url, outcomes, stop)) for _ in range(3)]
    applied = {
        service: await asyncio.to_thread(apply_schema, databases[service], schema)
        for service, schema in next_version.items()
    }
    # The version before starts again on the migrated databases, as after a crash.
    for service in next_version:
        assert await asyncio.to_thread(fleet.restart, service, 1) == 0
    before = outcomes["POST", 201]
    while outcomes["POST", 201] < before + 20:  # noqa: ASYNC110 - counted by others
        await asyncio.sleep(0.05)
    stop.set()
    await asyncio.gather(*workers)

    assert set(outcomes) == {("POST", 200), ("POST", 201), ("PATCH", 200), ("GET", 200)}
    for service, names in applied.items():
        functions = next_version[service].functions
        assert names == ["9001_expand", "9002_index", *(f"{name} (function)" for name in functions)]
        with psycopg.connect(databases[service]) as connection:
            found = connection.execute("SELECT indexrelid FROM pg_index WHERE NOT indisvalid").fetchall()
            assert found == []
    for process in fleet.processes["activity"]:
        assert await asyncio.to_thread(process.end) == 0
    with psycopg.connect(databases["metering"]) as connection:
        [(charged,)] = connection.execute("SELECT count(*) FROM ledger_entry WHERE client_id = %s", [CLIENT])
    assert charged == outcomes["POST", 201] + outcomes["PATCH", 200]
