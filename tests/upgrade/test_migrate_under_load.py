"""`migrate` of the next version runs while this one serves: callers see nothing of it."""

import asyncio
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from prove.breakable_stack import schema_of
from service_chassis.database.migrations import Schema, apply_schema, check_schema
from service_chassis.database.pool import open_pool
from tests.conftest import FreshDatabase
from tests.security.house import KEYS, House
from tests.upgrade.baseline import SERVICES

pytestmark = pytest.mark.system

EXPANSION = {
    "catalog": ("plan", "client"),
    "activity": ("plan_play", "billable_event"),
    "metering": ("hold", "ledger_entry", "account", "usage"),
}
"""The tables that this version's hot paths read and write, to which the next one adds."""
TERMS = {"rates": [], "prices": {"*": 1}, "credits": "unlimited"}
ROUNDS_BETWEEN = 5


@pytest.fixture
def next_version(tmp_path: Path) -> dict[str, Schema]:
    """The services' schemas with made-up migrations more, and every function with another text."""
    schemas = {}
    for service, tables in EXPANSION.items():
        package = schema_of(f"{service}_service").directory
        copy = tmp_path / package.name
        for folder in ("migrations", "sql"):
            if (package / folder).exists():
                shutil.copytree(package / folder, copy / folder)
        for path in (copy / "sql").glob("*.sql"):
            path.write_text(path.read_text() + "-- The next version's.\n")
        added = "".join(f"ALTER TABLE {table} ADD COLUMN added bigint NOT NULL DEFAULT 0;\n" for table in tables)
        (copy / "migrations" / "9001_columns.sql").write_text(added)
        built = "".join(
            f"DROP INDEX CONCURRENTLY IF EXISTS {table}_by_added;\n"
            f"CREATE INDEX CONCURRENTLY {table}_by_added ON {table} (added);\n"
            for table in tables
        )
        (copy / "migrations" / "9002_indexes.sql").write_text("-- transactional: false\n" + built)
        schemas[service] = Schema.of(copy, schema_of(f"{service}_service").role)
    return schemas


async def call_all_day(house: House, outcomes: Counter[Any], stop: asyncio.Event) -> None:
    """Do what a client does, over and over; count what came of each request."""

    async def call(service: str, method: str, path: str, body: Any = None) -> Any:
        try:
            status, answer = await house.call(service, method, path, bearer=token, body=body)
        except aiohttp.ClientError as error:
            outcomes[service, method, type(error).__name__] += 1
            return {}
        outcomes[service, method, status] += 1
        return answer.get("data") or {}

    token = await house.token()
    while not stop.is_set():
        await call("catalog", "POST", "/get-plans", {})
        await call("catalog", "POST", "/sync-plan", {"plan_id": "{plan_id}", "plan_name": "Again"})
        play = await call("activity", "POST", "/api/plan-plays", {"planId": "p", "userId": "user-1"})
        path = f"/api/plan-plays/{play.get('id')}"
        await call("activity", "PATCH", path, {"status": "ended"})
        await call("activity", "GET", path)
        outcomes["rounds"] += 1


async def test_no_request_fails_while_the_next_version_migrates(
    fresh_database: FreshDatabase, redis_url: str, next_version: dict[str, Schema]
) -> None:
    dsns = {service: fresh_database(f"{service}_service") for service in SERVICES}
    outcomes: Counter[Any] = Counter()
    stop = asyncio.Event()

    async def wait_for_rounds() -> None:
        until = outcomes["rounds"] + ROUNDS_BETWEEN
        while outcomes["rounds"] < until and not any(worker.done() for worker in workers):  # noqa: ASYNC110 - counted
            await asyncio.sleep(0.05)

    async with aiohttp.ClientSession() as http:
        house = await House.build(dsns, redis_url, http)
        for path, body in (
            ("/internal/policies/sold", TERMS),
            ("/internal/clients/client-a/policy", {"policyId": "sold", "create": True}),
        ):
            assert (await house.call("metering", "PUT", path, bearer=KEYS["admin"], body=body))[0] == 200
        workers = [asyncio.create_task(call_all_day(house, outcomes, stop)) for _ in range(3)]
        try:
            await wait_for_rounds()
            applied = {
                service: await asyncio.to_thread(apply_schema, dsns[service], schema)
                for service, schema in next_version.items()
            }
            await wait_for_rounds()
        finally:
            stop.set()
            await asyncio.gather(*workers)
            await house.close()

    statuses = {key[-1] for key in outcomes if key != "rounds"}
    assert statuses == {200, 201}, outcomes
    for service, names in applied.items():
        functions = [f"{name} (function)" for name in next_version[service].functions]
        assert names == ["9001_columns", "9002_indexes", *functions]
        # A process of this version that starts again finds what it needs.
        async with open_pool(dsns[service], size=1, application_name="test") as pool:
            await check_schema(pool, schema_of(f"{service}_service"))
        with psycopg.connect(dsns[service]) as connection:
            assert connection.execute("SELECT indexrelid FROM pg_index WHERE NOT indisvalid").fetchall() == []
    with psycopg.connect(dsns["metering"]) as connection:
        [(charged,)] = connection.execute("SELECT count(*) FROM ledger_entry WHERE kind = 'spend'")
    # Each round creates and ends a play, and the house was furnished with one.
    assert charged == 2 * outcomes["rounds"] + 1
