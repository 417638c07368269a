"""Bugs put into the database's functions on purpose: the audit finds what each does to the books."""

import asyncpg
import pytest

from metering_service.audit.run import audit_ledger
from metering_service.components import SCHEMA
from service_chassis.database.pool import open_pool
from tests.metering_service.conftest import ADMIN_KEY, Metering, event
from tests.metering_service.credits import PATH, grant, recur
from tests.metering_service.movable_clock import MovableClock


async def seed(metering: Metering, function: str, right: str, wrong: str, *more: str) -> None:
    """Put a function into the database that differs from ours in one place."""
    text = SCHEMA.functions[function]
    assert right in text
    connection = await asyncpg.connect(metering.dsn)
    await connection.execute(text.replace(right, wrong).replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    for statement in more:
        await connection.execute(statement)
    await connection.close()


async def find_rules(metering: Metering, clock: MovableClock) -> set[str]:
    async with open_pool(metering.dsn, size=1, application_name="audit") as pool:
        report = await audit_ledger(pool, now=clock(), unresolved_after_seconds=0)
    return {finding.rule for finding in report.violations}


async def test_a_grant_that_is_drawn_after_its_expiry_is_found(acme: Metering, clock: MovableClock) -> None:
    await seed(acme, "lock_accounts", "IF v_next <= greatest(v_now, v_last) THEN", "IF false THEN")
    await grant(acme, "short", 5, expiresAt="2026-04-01T00:00:00Z")
    clock.advance(days=1)
    [decision] = await acme.authorize(event())
    assert decision["decision"] == "granted"
    assert "account_behind" in await find_rules(acme, clock)


async def test_a_period_that_is_granted_twice_is_found(acme: Metering, clock: MovableClock) -> None:
    await seed(acme, "move_account", "recurring_id || ':'", "recurring_id || random() || ':'")
    await recur(acme, "plan", startsAt="2026-03-01T00:00:00Z")
    connection = await asyncpg.connect(acme.dsn)
    await connection.execute(
        "UPDATE recurring_grant SET next_at = starts_at; "
        "UPDATE account SET next_moment = starts_at FROM recurring_grant"
    )
    await connection.close()
    await acme.authorize(event())
    assert "granted_twice" in await find_rules(acme, clock)


async def test_a_quota_that_a_partial_settle_gives_nothing_back_of_is_found(
    metering: Metering, clock: MovableClock
) -> None:
    await metering.give("acme", quotas=[{"name": "q", "limit": 10, "counts": "units", "period": "day"}], grant=20)
    await seed(metering, "settle_events", "count_for(c.counts, t.events, t.units, t.credits)", "t.events")
    attempt = event(units=5)
    await metering.authorize(attempt)
    await metering.settle({**attempt, "units": 2})
    assert "counter_held" in await find_rules(metering, clock)


async def test_a_refund_that_is_given_twice_is_found(acme: Metering, clock: MovableClock) -> None:
    await grant(acme, "g", 5)
    attempt = event(units=5)
    await acme.authorize(attempt)
    await acme.settle({**attempt, "units": 5})
    body = {"refundId": "r", "eventId": attempt["eventId"], "reason": "test"}
    await acme.admin("POST", f"{PATH}/refunds", body)
    connection = await asyncpg.connect(acme.dsn)
    await connection.execute("UPDATE credit_grant SET event_id = 'another' WHERE kind = 'refund'")
    await connection.close()
    status, _ = await acme.call("POST", f"{PATH}/refunds", {**body, "refundId": "s"}, key=ADMIN_KEY)
    assert status == 200
    connection = await asyncpg.connect(acme.dsn)
    await connection.execute("UPDATE credit_grant SET event_id = $1 WHERE kind = 'refund'", attempt["eventId"])
    await connection.close()
    assert "refunded_too_much" in await find_rules(acme, clock)


@pytest.mark.parametrize(
    ("function", "right", "wrong", "rule"),
    [
        ("end_grants", "SET expired = expired + v_lapsed", "SET expired = expired", "account_expired"),
        ("lay_spent", "SET laid = laid +", "SET laid = laid + 0 *", "grants_taken"),
    ],
)
async def test_credits_that_expire_or_are_drawn_and_not_counted_are_found(
    acme: Metering, clock: MovableClock, function: str, right: str, wrong: str, rule: str
) -> None:
    await seed(acme, function, right, wrong)
    await grant(acme, "short", 5, expiresAt="2026-04-01T00:00:00Z")
    attempt = event(units=2)
    await acme.authorize(attempt)
    await acme.settle({**attempt, "units": 2})
    clock.advance(days=1)
    await acme.authorize(event())
    assert rule in await find_rules(acme, clock)


async def test_a_notice_that_comes_before_its_threshold_is_found(acme: Metering, clock: MovableClock) -> None:
    quota = {"name": "daily", "limit": 10, "period": "day"}
    await acme.give("acme", credits="unlimited", quotas=[quota], notices=[{"of": "quota:daily", "at": [0.1]}])
    await seed(acme, "note_thresholds", "'used', c.used)", "'used', c.used + c.held)")
    await acme.authorize(attempt := event(), event())
    await acme.settle(attempt)
    assert "told_too_much" in await find_rules(acme, clock)
