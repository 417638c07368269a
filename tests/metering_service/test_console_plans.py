"""Among a thousand clients and however many ledger lines every page of the console comes at once, and reads no table
whole.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import asyncpg
import pytest

from metering_service.components import COMPONENTS
from tests.metering_service.conftest import Metering
from tests.metering_service.console_browser import listen
from tests.metering_service.console_visitor import Visitor
from tests.metering_service.movable_clock import MovableClock

pytestmark = pytest.mark.system

CLIENTS = 1000
LINES = int(os.environ.get("CONSOLE_LEDGER_LINES", "30000"))
"""A million take a minute to write, and change nothing: CONSOLE_LEDGER_LINES=1000000."""
PAGE_SECONDS = 0.3
TRIES = 4
MOST_READ = 0.25
"""Of a table's rows, by one page: what it needs is a few days of sums, or one client's."""

_FILL = """
    INSERT INTO policy (policy_id) SELECT 'plan-' || n FROM generate_series(0, 9) n;
    INSERT INTO policy_version (policy_id, version, terms, created_at, effective_at)
    SELECT 'plan-' || n, 1, '{"rates": [{"name": "per minute", "limit": 60, "periodSeconds": 60, "burst": 100}],
        "quotas": [{"name": "monthly", "limit": 5000, "period": "month"}], "prices": {"*": 1}, "credits": "prepaid",
        "mode": "enforce"}', $NOW - interval '300 days', $NOW - interval '300 days'
    FROM generate_series(0, 9) n;
    INSERT INTO account (client_id, granted, spent, last_at)
    SELECT 'client-' || n, 10000, $LINES / $CLIENTS, $NOW FROM generate_series(1, $CLIENTS) n;
    INSERT INTO assignment (client_id, starts_at, policy_id, anchored_at)
    SELECT 'client-' || n, $NOW - interval '300 days', 'plan-' || n % 10, $NOW - interval '300 days'
    FROM generate_series(1, $CLIENTS) n;
    INSERT INTO credit_grant (client_id, kind, grant_id, credits, effective_at, priority, actor, created_at, state,
        remaining)
    SELECT 'client-' || n, 'grant', 'first', 10000, $NOW - interval '300 days', 50, 'ops',
        $NOW - interval '300 days', 'live', 10000 FROM generate_series(1, $CLIENTS) n;
    INSERT INTO ledger_entry (client_id, kind, credits, at, reference, actor)
    SELECT 'client-' || n, 'grant', 10000, $NOW - interval '300 days', 'first', 'ops'
    FROM generate_series(1, $CLIENTS) n;
    INSERT INTO ledger_entry (client_id, kind, credits, at, event_id, event_type, user_id, units, hold_id, service,
        counted_on, held_at, policy_id, policy_version, rates_used, taken_before, available_before)
    SELECT 'client-' || c, 'spend', -1, m.at, 'made:' || n, 'type-' || n % 3, 'user-' || n % 50, 1, gen_random_uuid(),
        'tests', (m.at AT TIME ZONE 'UTC')::date, m.at, 'plan-' || c % 10, 1, '{1}', '{1}', 9000
    FROM generate_series(1, $LINES) n CROSS JOIN LATERAL (SELECT n % $CLIENTS + 1 AS c) AS c
    CROSS JOIN LATERAL (SELECT $NOW - interval '200 days' * (n::float / $LINES) AS at) AS m;
    INSERT INTO usage (client_id, day, event_type, charged, units, credits, overage, last_at)
    SELECT client_id, counted_on, event_type, count(*), sum(units), -sum(credits), 0, max(at)
    FROM ledger_entry WHERE kind = 'spend' GROUP BY 1, 2, 3;
    INSERT INTO refusal_count (client_id, day, event_type, code, refused, last_at)
    SELECT client_id, day, event_type, 'api_quota_exceeded', 3, last_at FROM usage WHERE hashtext(client_id) % 3 = 0;
    INSERT INTO refusal (client_id, minute, event_type, code, limit_name, user_id, refused, first_at, last_at,
        first_receipt, last_receipt)
    SELECT client_id, date_trunc('minute', last_at), event_type, 'api_quota_exceeded', 'monthly', '', 3, last_at,
        last_at, r.document, r.document
    FROM usage CROSS JOIN (SELECT '{"policyId": "plan-1", "policyVersion": 1, "mode": "enforce", "wouldRefuse": null,
        "degraded": false, "credits": 0, "gates": {"rates": [], "quotas": [{"name": "monthly", "limit": 5000,
        "usedBefore": 5000, "amount": 1, "overage": 0}], "credits": null}}'::jsonb AS document) AS r
    WHERE day > ($NOW - interval '35 days')::date AND hashtext(client_id) % 3 = 0;
    INSERT INTO admin_audit (at, actor, action, target, detail)
    SELECT $NOW, 'ops', 'grant', 'client-' || n % 1000, '{}' FROM generate_series(1, 50000) n;
    INSERT INTO hold (client_id, hold_id, event_id, service, event_type, units, credits, counted_on, held_at,
        resolve_by, policy_id, policy_version)
    SELECT 'client-' || n % 1000, gen_random_uuid(), 'held:' || n, 'tests', 'type-1', 1, 0, '2026-03-31',
        $NOW - interval '1 second' * n, $NOW, 'plan-1', 1 FROM generate_series(1, 2000) n;
    INSERT INTO hold (client_id, hold_id, event_id, released_at)
    SELECT 'client-' || n % 1000, gen_random_uuid(), 'gone:' || n, $NOW FROM generate_series(1, 50000) n;
"""
_LARGE = ("ledger_entry", "usage", "refusal_count", "refusal", "admin_audit", "hold")

PAGES = (
    *(f"/console/clients?sort={order}" for order in ("name", "spend", "refusals", "ending")),
    *(f"/console/clients?q=NT-5&sort={order}" for order in ("name", "spend", "refusals", "ending")),
    "/console/clients/client-7",
    "/console/decisions?event=made:4711",
    "/console/decisions?event=nothing",
    "/console/policies",
    "/console/policies/of/plan-1",
    "/console/policies/of/plan-1/edit",
    "/console/clients/client-7/grant",
    "/console/health",
)


@pytest.fixture
async def filled(metering: Metering, clock: MovableClock) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(metering.dsn)
    filled = (
        _FILL.replace("$LINES", str(LINES))
        .replace("$CLIENTS", str(CLIENTS))
        .replace("$NOW", f"timestamptz '{clock.now}'")
    )
    for statement in filled.strip().removesuffix(";").split(";\n"):
        await connection.execute(statement, timeout=200)
    await connection.execute("VACUUM ANALYZE", timeout=200)
    yield connection
    await connection.close()


async def count_read(connection: asyncpg.Connection, pool: asyncpg.Pool) -> dict[str, int]:
    """Return how many rows were read of each table so far, by walking through it or through an index."""
    async with AsyncExitStack() as stack:
        # Each session tells its counts when it is asked, or some seconds later.
        for session in [await stack.enter_async_context(pool.acquire()) for _ in range(pool.get_size())]:
            await session.execute("SELECT pg_stat_force_next_flush()")
            await session.execute("SELECT 1")
    rows = await connection.fetch(
        "SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables"
    )
    return {name: read for name, read in rows if name in _LARGE}


async def test_every_page_comes_at_once_and_reads_no_table_whole(
    metering: Metering, filled: asyncpg.Connection
) -> None:
    sizes = {name: await filled.fetchval(f"SELECT count(*) FROM {name}") for name in _LARGE}
    assert sizes["ledger_entry"] > LINES
    visitor = await Visitor(await listen(metering)).log_in()
    slow, whole = [], []
    app = metering.clients[0].app
    assert app is not None
    pool = app[COMPONENTS].pool
    pages = {path: partial(visitor.get, path) for path in PAGES}
    edit = "/console/policies/of/plan-1/edit"
    pages["preview"] = partial(visitor.send, await visitor.get(edit), edit, **{"price-0-credits": "2"})
    for path, ask in pages.items():
        seconds, read = [], []
        for _ in range(TRIES):
            before = await count_read(filled, pool)
            began = time.perf_counter()
            await ask()
            seconds.append(time.perf_counter() - began)
            after = await count_read(filled, pool)
            read.append({name: after[name] - before[name] for name in _LARGE})
        slow += [f"{path}: {min(seconds):.3f} s"] * (min(seconds) > PAGE_SECONDS)
        # The least of all tries: background tasks read, too.
        least = {name: min(each[name] for each in read) for name in _LARGE}
        whole += [f"{path}: {least[name]} of {name}" for name in _LARGE if least[name] > sizes[name] * MOST_READ]
    await visitor.http.close()
    assert (slow, whole) == ([], [])
