"""What a decision reads does not grow with what is stored, even by a plan from when the tables were empty.

What it passes through grows with its batch, and not faster.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson
import pytest

from metering_service.events.event import BillableEvent, ReleasedEvent, SettledEvent
from metering_service.events.hold_store import CHARGING_SETTINGS, HoldStore
from metering_service.policies.policy import ClientPolicies, Policy, PolicyVersion, Quota
from metering_service.rates.limiter import PASSED
from service_chassis.database.pool import open_pool

pytestmark = pytest.mark.system

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
        for _ in range(12):
            await live(holds, make_events(250))
    before = await count_rows_read(pool)
    async with pool.acquire() as connection:
        await live(HoldStore(connection), make_events(50))
    assert await count_rows_read(pool) - before <= 50 * ROWS_PER_EVENT


LIVE_HOLDS = 1500
GRANTS = 1000
ROWS_PER_GRANT = 20


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


GIVE = """
    WITH given AS (
        INSERT INTO credit_grant (client_id, kind, grant_id, credits, effective_at, expires_at, priority, actor,
                                  created_at, state, remaining)
        SELECT 'acme', 'grant', gen_random_uuid(), 10, $2, CASE WHEN n % 4 = 0 THEN now() END, 50, 'tests', $2,
               'live', 10
        FROM generate_series(1, $1::integer) AS n
    ), held AS (
        INSERT INTO hold (client_id, hold_id, event_id, service, event_type, units, credits, counted_on, held_at,
                          resolve_by, policy_id, policy_version)
        SELECT 'acme', gen_random_uuid(), gen_random_uuid(), 'tests', 't', 1, 3, '2026-03-31', $2, $2, 'free', 1
        FROM generate_series(1, $1::integer / 4)
    ), line AS (
        INSERT INTO ledger_entry (client_id, kind, credits, at, reference, actor)
        VALUES ('acme', 'adjust', 1, $2, gen_random_uuid(), 'tests')
    )
    INSERT INTO account AS a (client_id, last_at, granted, spent, held, next_moment)
    SELECT 'acme', $2, 10 * $1::integer, 5, 3 * ($1::integer / 4), utc_now()
    ON CONFLICT (client_id) DO UPDATE
    SET granted = a.granted + excluded.granted, spent = a.spent + excluded.spent, held = a.held + excluded.held,
        next_moment = excluded.next_moment
"""


async def test_moving_an_account_on_reads_each_of_its_grants_and_holds_a_few_times(pool: asyncpg.Pool) -> None:
    """It spends, grants expire, and holds lie on them."""
    async with pool.acquire() as connection:
        for _ in range(3):
            await connection.execute(GIVE, 4, NOW)
            await connection.execute("SELECT lock_accounts(ARRAY['acme'])")
        await connection.execute(GIVE, GRANTS, NOW)
    before = await count_rows_read(pool)
    async with pool.acquire() as connection:
        await connection.execute("SELECT lock_accounts(ARRAY['acme'])")
        ended = await connection.fetchval("SELECT count(*) FROM credit_grant WHERE state = 'expired'")
    assert ended >= GRANTS // 4
    assert await count_rows_read(pool) - before <= ROWS_PER_GRANT * GRANTS


COUNTED = PolicyVersion(
    "counted",
    1,
    Policy(
        (),
        (Quota("events", 10**6), Quota("units", 10**6, counts="units", per="user")),
        {"*": 1},
        "prepaid",
        "enforce",
    ),
    NOW,
    NOW,
)


async def test_what_a_statement_passes_through_grows_with_its_batch_and_not_with_the_square_of_it(
    pool: asyncpg.Pool,
) -> None:
    async with pool.acquire() as connection:
        await connection.execute("INSERT INTO policy VALUES ('counted')")
        await connection.execute(
            "INSERT INTO policy_version VALUES ('counted', 1, $1, $2, $2)",
            orjson.dumps(COUNTED.policy.as_document()).decode(),
            NOW,
        )
        await connection.execute(
            "INSERT INTO account (client_id, granted, last_at)"
            " SELECT 'c' || n, 9, $1 FROM generate_series(1, 400) AS n",
            NOW,
        )
        plans: list[str] = []

        def keep_plan(_: object, message: asyncpg.PostgresLogMessage) -> None:
            plans.append(message.message)

        connection.add_log_listener(keep_plan)
        for setting in (
            "LOAD 'auto_explain'",
            "SET auto_explain.log_min_duration = 0",
            "SET auto_explain.log_nested_statements = on",
            "SET auto_explain.log_analyze = on",
            "SET auto_explain.log_format = json",
            "SET client_min_messages = log",
        ):
            await connection.execute(setting)
        passed_each: dict[int, list[float]] = {}
        for size in (20, 400):
            for _ in range(2):  # the first time their counters begin
                plans.clear()
                await authorize_and_settle(HoldStore(connection), size)
                rows = [count_rows_passed(orjson.loads(text[text.index("{") :])["Plan"]) for text in plans]
                passed_each.setdefault(size, []).append(sum(rows) / size)
        connection.remove_log_listener(keep_plan)
    assert min(passed_each[20]) > 10
    for of_few, of_many in zip(*passed_each.values(), strict=True):
        assert of_many < 1.5 * of_few


async def authorize_and_settle(holds: HoldStore, clients: int) -> None:
    """Authorize and settle an event of each of so many clients, and authorize and release another."""
    events = [
        [BillableEvent(str(uuid.uuid4()), str(uuid.uuid4()), f"c{n}", "any", "ann") for n in range(1, clients + 1)]
        for _ in range(2)
    ]
    for batch in events:
        decisions = await holds.authorize(
            batch, [ClientPolicies(COUNTED)] * clients, [PASSED] * clients, service="tests", default_policy="counted"
        )
        assert [decision and decision.decision for decision in decisions] == ["granted"] * clients
    facts = [SettledEvent(event.hold_id, event.event_id, event.client_id) for event in events[0]]
    assert all(await holds.settle_held(facts, service="tests"))
    given_back = [ReleasedEvent(event.hold_id, event.event_id, event.client_id) for event in events[1]]
    assert all(await holds.release(given_back, service="tests"))


def count_rows_passed(plan: Mapping[str, Any]) -> float:
    """Return how many rows the steps of a plan gave on or threw away, in all of their turns."""
    rows = sum(rows for name, rows in plan.items() if name == "Actual Rows" or name.startswith("Rows Removed"))
    return float(rows * plan["Actual Loops"]) + sum(count_rows_passed(each) for each in plan.get("Plans", ()))
