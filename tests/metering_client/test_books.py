"""The books of a service that bills by the library: its tables, its audit, and recharge after a restore."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import aiohttp
import asyncpg
import pytest

from local_stack.processes import REPOSITORY
from metering_client import (
    AuditFacts,
    Billing,
    ChargesClient,
    OutboxStore,
    create_tables,
    recharge_facts,
    stream_facts,
)
from service_chassis.cli.audit_report import AuditReport
from service_chassis.clock import system_clock
from tests.metering_client.conftest import ADMIN_KEY, CREATE_COMPLETIONS, FACTS, TOKENS
from tests.metering_client.test_one_fact import sell, settle_all
from tests.metering_service.conftest import Metering

INSERT = """
    INSERT INTO completion (event_id, client_id, tokens, created_at)
    SELECT 'llm.tokens:' || number, 'acme', 1, now() - interval '1 hour' FROM generate_series(1, $1) AS number
"""

COLUMNS = """
    SELECT attname::text, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = 'billable_event'::regclass AND attnum > 0 ORDER BY attnum
"""
RULES = """
    SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'billable_event'::regclass
    UNION ALL
    SELECT option, '' FROM pg_class, unnest(reloptions) AS option WHERE oid = 'billable_event'::regclass
    UNION ALL
    SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'billable_event'
    ORDER BY 1
"""
A_PLAY_IS_ONE_UNIT = ("billable_event_units", "CHECK ((units > 0))")


@pytest.fixture
async def charges(metering_url: str) -> AsyncIterator[ChargesClient]:
    async with aiohttp.ClientSession() as session:
        yield ChargesClient(session, url=metering_url, key=ADMIN_KEY)


def audit(pool: asyncpg.Pool) -> AuditFacts:
    return AuditFacts(pool, frozenset({TOKENS}), system_clock(), in_flight_seconds=-60)


def rules(report: AuditReport) -> list[str]:
    return sorted(finding.rule for finding in report.violations)


async def test_the_activity_service_has_the_librarys_table(pool: asyncpg.Pool, activity_dsn: str) -> None:
    activity = await asyncpg.connect(activity_dsn)
    try:
        assert await activity.fetch(COLUMNS) == await pool.fetch(COLUMNS)
        ours = {tuple(row) for row in await pool.fetch(RULES)}
        theirs = {tuple(row) for row in await activity.fetch(RULES)}
    finally:
        await activity.close()
    assert theirs - ours == {A_PLAY_IS_ONE_UNIT}
    assert {name for name, _ in ours} == {name for name, _ in theirs}


async def test_tables_are_made_once_by_processes_that_start_together(empty_database: Callable[..., str]) -> None:
    async with asyncpg.create_pool(empty_database(), min_size=4, max_size=4) as pool:

        async def make() -> None:
            async with pool.acquire() as connection:
                await create_tables(connection, own=CREATE_COMPLETIONS, facts=f"{FACTS};")

        await asyncio.gather(*[make() for _ in range(4)])
        await make()
        assert await pool.fetchval("SELECT billable_fact_exists('acme', 'llm.tokens:1')") is False
        await pool.execute(INSERT, 1)
        assert await pool.fetchval("SELECT billable_fact_exists('acme', 'llm.tokens:1')") is True
        assert await pool.fetchval("SELECT billable_fact_exists('other', 'llm.tokens:1')") is False


async def test_another_query_of_facts_takes_the_place_of_the_last(pool: asyncpg.Pool) -> None:
    await pool.execute(INSERT, 2)
    async with pool.acquire() as connection:
        await create_tables(connection, facts="SELECT event_id, client_id, 'a', NULL, 1, created_at FROM completion")
    assert {(fact.event_type, fact.units) async for fact in stream_facts(pool)} == {("a", 1)}
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")
        asked = "SELECT FROM billable_fact WHERE client_id = 'acme' AND event_id = 'llm.tokens:1'"
        assert "completion_pkey" in str(await connection.fetch(f"EXPLAIN {asked}"))


async def test_the_sql_that_is_printed_makes_the_tables(empty_database: Callable[..., str]) -> None:
    command = [sys.executable, "-m", "metering_client", "sql"]
    printed = await asyncio.to_thread(
        lambda: subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, text=True).stdout
    )
    connection = await asyncpg.connect(empty_database())
    try:
        await connection.execute(CREATE_COMPLETIONS)
        await connection.execute(printed)
        assert await OutboxStore(connection).list_parked(1) == []
    finally:
        await connection.close()


async def test_the_command_says_how_it_is_used() -> None:
    command = [sys.executable, "-m", "metering_client", "tables"]
    ended = await asyncio.to_thread(
        lambda: subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False, text=True)
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert ended.stderr.startswith("usage: python -m metering_client sql")


async def test_what_is_stored_and_charged_is_sound(
    billing: Billing, pool: asyncpg.Pool, metering: Metering, charges: ChargesClient
) -> None:
    for number in range(3):
        await sell(billing, pool, number)
    await settle_all(billing, pool)
    await metering.settle({**_event("report.rendered:1"), "eventType": "report.rendered"})
    report = await audit(pool).check_charges("completions", stream_facts(pool), charges)
    assert (report.violations, report.checked) == ([], {"pairs": 3, "charges of others": 1})
    assert (await audit(pool).check_outbox("completions")).is_sound


async def test_each_kind_of_damage_is_found(
    billing: Billing, pool: asyncpg.Pool, metering: Metering, charges: ChargesClient
) -> None:
    await sell(billing, pool, "charged, and gone")
    await settle_all(billing, pool)
    await pool.execute("DELETE FROM completion")
    await metering.settle({**_event("llm.tokens:1"), "clientId": "other"})
    await pool.execute(INSERT, 2)
    report = await audit(pool).check_charges("completions", stream_facts(pool), charges)
    assert rules(report) == ["charge_of_another_client", "charge_without_fact", "fact_uncharged"]


async def test_a_fact_that_is_charged_for_other_units_is_found(
    billing: Billing, pool: asyncpg.Pool, metering: Metering, charges: ChargesClient
) -> None:
    await sell(billing, pool, "as it was")
    await settle_all(billing, pool)
    assert (await audit(pool).check_charges("completions", stream_facts(pool), charges)).is_sound
    await pool.execute("UPDATE completion SET tokens = tokens + 1")
    report = await audit(pool).check_charges("completions", stream_facts(pool), charges)
    assert rules(report) == ["charge_of_other_units"]

    await pool.execute(
        "INSERT INTO billable_event (hold_id, event_id, outcome, client_id, event_type, units, created_at, "
        "next_attempt_at, parked_at) SELECT gen_random_uuid(), 'llm.tokens:gone', 'happened', 'acme', 'llm.tokens', "
        "1, now(), now(), now()"
    )
    assert rules(await audit(pool).check_outbox("completions")) == ["fact_missing", "parked"]


async def test_recharge_has_every_fact_without_a_charge_charged_whole_and_repeats_nothing(
    billing: Billing, pool: asyncpg.Pool, metering: Metering, charges: ChargesClient
) -> None:
    """More of them than one statement takes, of a library's user who has two connections."""
    await sell(billing, pool, 1)
    await settle_all(billing, pool)
    await pool.execute(f"{INSERT} ON CONFLICT DO NOTHING", 1201)
    dry = await recharge_facts(audit(pool), stream_facts(pool), charges, dry_run=True)
    assert (dry.uncharged, dry.announced) == (1200, 0)
    done = await recharge_facts(audit(pool), stream_facts(pool), charges, dry_run=False)
    assert (done.uncharged, done.announced) == (1200, 1200)
    again = await recharge_facts(audit(pool), stream_facts(pool), charges, dry_run=False)
    assert again.announced == 0
    await billing.relay.settle_due()
    assert await metering.balance("acme") == (10_000, 300 + 2400, 0, 10_000 - 2700)
    late = [charge.event_type async for charge in charges.stream_charges() if charge.late]
    assert late == [TOKENS] * 1200
    assert (await audit(pool).check_charges("completions", stream_facts(pool), charges)).is_sound


async def test_what_is_young_may_be_in_flight(pool: asyncpg.Pool, charges: ChargesClient) -> None:
    await pool.execute(INSERT, 1)
    young = AuditFacts(pool, frozenset({TOKENS}), system_clock(), timedelta(hours=2).total_seconds())
    assert (await young.check_charges("completions", stream_facts(pool), charges)).is_sound
    left_out = await recharge_facts(young, stream_facts(pool), charges, dry_run=True)
    assert (left_out.uncharged, left_out.in_flight) == (0, 1)


def _event(event_id: str) -> dict[str, str]:
    return {
        "holdId": "0198f2a4-7c1e-7f3a-9d43-0b1c5f6e7a88",
        "eventId": event_id,
        "clientId": "acme",
        "eventType": TOKENS,
        "happenedAt": "2026-03-31T21:59:00Z",
    }
