"""What a decision reads does not grow with what is stored, even by a plan from when the tables were empty."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
import pytest

from metering_service.events.event import BillableEvent, ReleasedEvent, SettledEvent
from metering_service.events.hold_store import CHARGING_SETTINGS, HoldStore
from metering_service.policies.policy import ClientPolicies, Policy, PolicyVersion
from metering_service.rates.limiter import PASSED
from service_chassis.database.pool import open_pool

NOW = datetime(2026, 3, 31, tzinfo=UTC)
FREE = PolicyVersion("free", 1, Policy((), (), {"*": 0}, "unlimited", "enforce"), NOW, NOW)
ROWS_PER_EVENT = 40
"""Rows that may be read for one event, authorized twice, settled twice and released, over all tables and indexes."""


@pytest.fixture
async def pool(metering_dsn: str) -> asyncpg.Pool:
    # One connection, so that the plans are those that were made at first.
    async with open_pool(metering_dsn, size=1, application_name="test", settings=CHARGING_SETTINGS) as pool:
        yield pool


def make_events(number: int) -> list[BillableEvent]:
    return [
        BillableEvent(str(uuid.uuid4()), f"plan_play.created:{uuid.uuid4()}", f"client-{n % 50}", "plan_play.created")
        for n in range(number)
    ]


async def live(holds: HoldStore, events: Sequence[BillableEvent]) -> None:
    terms = {"service": "tests", "default_policy": "free"}
    for _ in range(2):  # the second time event by event
        decisions = await holds.authorize(
            events, [ClientPolicies(FREE)] * len(events), [PASSED] * len(events), **terms
        )
        assert {decision.decision for decision in decisions if decision} == {"granted"}
    facts = [SettledEvent(event.hold_id, event.event_id, event.client_id) for event in events]
    settlements = [
        await holds.settle_held(facts, service="tests"),
        await holds.settle_others(facts, {}, **terms),
    ]
    assert {settlement.state for each in settlements for settlement in each if settlement} == {"settled"}
    released = [ReleasedEvent(str(uuid.uuid4()), event.event_id, event.client_id) for event in events]
    await holds.release(released, service="tests")


async def count_rows_read(pool: asyncpg.Pool) -> int:
    async with pool.acquire() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        await connection.execute("SELECT 1")
        return int(
            await connection.fetchval(
                "SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables)"
                " + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)"
            )
        )


async def test_plans_from_an_empty_database_stay_good_in_a_full_one(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        holds = HoldStore(connection)
        for _ in range(10):  # PostgreSQL settles on a plan after five executions
            await live(holds, make_events(4))
        for _ in range(20):
            await live(holds, make_events(250))
    before = await count_rows_read(pool)
    async with pool.acquire() as connection:
        await live(HoldStore(connection), make_events(50))
    assert await count_rows_read(pool) - before <= 50 * ROWS_PER_EVENT


LIVE_HOLDS = 1500


async def test_a_decision_among_many_live_holds_reads_none_of_them(pool: asyncpg.Pool) -> None:
    terms = {"service": "tests", "default_policy": "free"}

    def one_clients(number: int) -> list[BillableEvent]:
        events = make_events(number)
        for each in events:
            each.client_id = "busy"
        return events

    async with pool.acquire() as connection:
        holds = HoldStore(connection)
        for _ in range(10):  # by event, too: plans of both forms from when nothing was held
            await live(holds, one_clients(1))
        while await connection.fetchval("SELECT count(*) FROM hold WHERE released_at IS NULL") < LIVE_HOLDS:
            await holds.authorize(events := one_clients(250), [ClientPolicies(FREE)] * 250, [PASSED] * 250, **terms)
        assert len(events) == 250
    for _ in range(2):
        before = await count_rows_read(pool)
        async with pool.acquire() as connection:
            await live(HoldStore(connection), one_clients(10))
        assert await count_rows_read(pool) - before <= 10 * ROWS_PER_EVENT
