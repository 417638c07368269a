"""The audit: silent about a sound system, and loud about each way in which one can be unsound."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson
import psycopg
import pytest
from typer.testing import CliRunner

from metering_service.audit.run import audit_ledger
from metering_service.cli.main import commands
from service_chassis.cli.audit_report import AuditReport, Finding
from tests.metering_service.conftest import Metering, again, event
from tests.metering_service.movable_clock import MovableClock


async def live_a_little(metering: Metering, clock: MovableClock) -> dict[str, dict[str, Any]]:
    """Leave one event settled, one released, one settled late, one held, over the end of a day and a month."""
    await metering.give("acme", grant=10, quotas=[{"name": "q", "limit": 100, "period": "day"}])
    events = {name: event(eventId=f"plan_play.created:{name}") for name in ("settled", "released", "late", "held")}
    assert {decision["decision"] for decision in await metering.authorize(*events.values())} == {"granted"}
    await metering.settle(events["settled"])
    await metering.release(events["released"], events["late"])
    clock.advance(hours=3)
    await metering.settle(again(events["late"]))
    await metering.admin(
        "POST", "/internal/clients/acme/adjustments", {"adjustmentId": "a", "credits": -2, "reason": "x"}
    )
    next_day = event()
    await metering.authorize(next_day)
    await metering.settle(next_day)
    return events


async def tamper(metering: Metering, statement: str) -> None:
    connection = await asyncpg.connect(metering.dsn)
    await connection.execute(statement)
    await connection.close()


async def audit(metering: Metering, clock: MovableClock, unresolved_after_seconds: float = 60) -> AuditReport:
    async with asyncpg.create_pool(metering.dsn, min_size=0, max_size=1) as pool:
        return await audit_ledger(pool, now=clock(), unresolved_after_seconds=unresolved_after_seconds)


async def test_sound_system_is_called_sound_and_its_old_hold_unfinished(
    metering: Metering, clock: MovableClock
) -> None:
    await live_a_little(metering, clock)
    report = await audit(metering, clock)
    assert report.is_sound, report.violations
    assert report.checked == {"accounts": 1, "counters": 2, "charges": 3, "late charges": 1}
    assert report.unfinished == [
        Finding("hold_unresolved", "plan_play.created:held", "1 credits of acme held for 10,800 s")
    ]
    assert (await audit(metering, clock, unresolved_after_seconds=4 * 3600)).unfinished_count == 0


async def test_empty_system_is_sound(metering: Metering, clock: MovableClock) -> None:
    report = await audit(metering, clock)
    assert report.is_sound
    assert report.checked == {}


TAMPERINGS = {
    "account_granted": "UPDATE account SET granted = granted + 1",
    "account_adjusted": "UPDATE account SET adjusted = adjusted + 1",
    "account_expired": "UPDATE account SET expired = expired + 1",
    "grants_taken": "UPDATE credit_grant SET remaining = remaining - 1",
    "account_grants_pinned": "UPDATE credit_grant SET remaining = remaining - 1, pinned = pinned + 1",
    "account_spent": "UPDATE account SET spent = spent + 1",
    "account_held": "UPDATE account SET held = held + 1",
    "account_late_spent": "UPDATE account SET late_spent = 0",
    "counter_used": "UPDATE counter SET used = used + 1",
    "counter_held": "UPDATE counter SET held = held + 1",
    "usage_apart": "UPDATE usage SET credits = credits + 1",
    "account_grants_credits": "UPDATE credit_grant SET credits = credits + 5, remaining = remaining + 5",
    "account_laid": "UPDATE credit_draw SET credits = credits - 1",
    "account_missing": "DELETE FROM account",
    "account_oversold": "ALTER TABLE account DROP CONSTRAINT account_available; UPDATE account SET granted = 0",
    "account_ahead": "UPDATE account SET last_at = last_at + interval '1 day'",
    "account_behind": "UPDATE account SET next_moment = last_at - interval '1 hour'",
    "refunded_too_much": """
        INSERT INTO credit_grant (client_id, kind, grant_id, event_id, credits, effective_at, priority, actor,
                                  created_at, state, remaining)
        VALUES ('acme', 'refund', 'r', 'plan_play.created:settled', 2, utc_now(), 50, 'x', utc_now(), 'booked', 2)
    """,
    "told_too_much": """
        INSERT INTO notice (client_id, kind, key, threshold, at, ends_at, data)
        SELECT client_id, 'quota', counter_id::text, 0.8, utc_now(), utc_now(), '{"used": 99}' FROM counter
    """,
    "charged_and_held": "UPDATE hold SET event_id = 'plan_play.created:settled' WHERE released_at IS NULL",
    "late_credits": "UPDATE ledger_entry SET late_credits = 2 WHERE event_id = 'plan_play.created:settled'",
    "charged_twice": """
        DROP INDEX ledger_entry_event_once;
        INSERT INTO ledger_entry (client_id, kind, credits, event_id, event_type, units, hold_id, service, counted_on,
                                  policy_id, policy_version, at)
        SELECT client_id, kind, credits, event_id, event_type, units, hold_id, service, counted_on, policy_id,
               policy_version, at
        FROM ledger_entry WHERE event_id = 'plan_play.created:settled'
    """,
    "held_twice": """
        DROP INDEX hold_event_once;
        INSERT INTO hold (client_id, hold_id, event_id, service, event_type, units, credits, counted_on, held_at,
                          resolve_by, policy_id, policy_version)
        SELECT client_id, gen_random_uuid(), event_id, service, event_type, units, credits, counted_on, held_at,
               resolve_by, policy_id, policy_version
        FROM hold WHERE event_id = 'plan_play.created:held'
    """,
}


@pytest.mark.parametrize("rule", TAMPERINGS)
async def test_each_kind_of_damage_is_found(metering: Metering, clock: MovableClock, rule: str) -> None:
    await live_a_little(metering, clock)
    await tamper(metering, TAMPERINGS[rule])
    report = await audit(metering, clock)
    assert rule in {finding.rule for finding in report.violations}


async def test_usage_says_as_much_overage_as_the_charges_until_their_receipts_are_forgotten(
    metering: Metering, clock: MovableClock
) -> None:
    await metering.give("acme", grant=10, quotas=[{"name": "q", "limit": 1, "period": "day", "overage": 5}])
    bought = [event(), event(), event()]
    await metering.authorize(*bought)
    await metering.settle_by_ids(*bought)
    assert (await audit(metering, clock)).is_sound
    await tamper(metering, "UPDATE usage SET overage = overage + 1")
    assert [finding.rule for finding in (await audit(metering, clock)).violations] == ["usage_apart"]
    await tamper(metering, "UPDATE usage SET overage = overage - 1")
    forgotten = "INSERT INTO receipt_forgotten SELECT 'acme', max(at) FROM ledger_entry"
    await tamper(metering, f"UPDATE ledger_entry SET overage = NULL; {forgotten}")
    report = await audit(metering, clock)
    assert report.is_sound, report.violations


async def test_what_is_noted_of_ended_grants_that_pay_is_held_against_holds_and_charges(
    metering: Metering, clock: MovableClock
) -> None:
    await metering.give("acme")
    await metering.admin(
        "POST", "/internal/clients/acme/grants", {"grantId": "g", "credits": 9, "expiresAt": "2026-03-31T23:00:00Z"}
    )
    paid, waits = event(units=2), event(units=3)
    await metering.authorize(paid, waits)
    clock.advance(hours=2)
    await metering.settle_by_ids(paid)
    report = await audit(metering, clock)
    assert report.is_sound, report.violations
    for change, rule in (
        ("paid = paid - 1 WHERE paid > 0", "account_pinned_spent"),
        ("credits = 4 WHERE paid IS NULL", "account_holds_pinned"),
    ):
        await tamper(metering, f"UPDATE credit_pin SET {change}")
        assert rule in {finding.rule for finding in (await audit(metering, clock)).violations}


async def test_findings_are_all_counted_and_some_kept() -> None:
    report = AuditReport("the test")
    report.add_violations(Finding("rule", str(number), "") for number in range(250))
    whole = AuditReport("the whole")
    whole.merge(report)
    assert (whole.violation_count, len(whole.violations)) == (250, 100)
    assert not whole.is_sound


async def test_charges_of_all_clients_are_listed_by_event_id_in_pages(metering: Metering) -> None:
    names = ["b:2", "B:1", "é", "a-1", "a1", "a:3"]
    await metering.settle(*[event(f"client-{n}", eventId=name) for n, name in enumerate(names)])
    found: list[dict[str, Any]] = []
    path = "/internal/charges?limit=4"
    while path:
        page = await metering.admin("GET", path)
        found += page["charges"]
        path = page["nextCursor"] and f"/internal/charges?limit=4&cursor={page['nextCursor']}"
    assert [charge["eventId"] for charge in found] == sorted(names, key=str.encode)
    assert found[0].keys() == {"eventId", "holdId", "clientId", "eventType", "units", "credits", "late", "at"}
    assert found[0]["late"] is True


async def test_charges_are_for_the_scope_admin_only(metering: Metering) -> None:
    status, _ = await metering.call("GET", "/internal/charges")
    assert status == 403


def run_command(dsn: str, *arguments: str) -> tuple[int, str]:
    environment = {
        "METERING_POSTGRES_DSN": dsn,
        "METERING_REDIS_URL": "redis://127.0.0.1:1",
        "METERING_SERVICE_KEYS": "",
    }
    result = CliRunner().invoke(commands, ["audit", *arguments], env=environment)
    return result.exit_code, result.stdout


def test_command_says_sound_and_exits_0_then_names_the_damage_and_exits_1(metering_dsn: str) -> None:
    assert run_command(metering_dsn) == (0, "metering: sound. Every invariant holds (nothing there).\n")
    with psycopg.connect(metering_dsn) as connection:
        connection.execute("INSERT INTO account (client_id, last_at, spent, granted) VALUES ('acme', now(), 1, 1)")
    code, text = run_command(metering_dsn, "--json")
    document = orjson.loads(text)
    assert code == 1
    assert document["verdict"] == "violated"
    assert {finding["rule"] for finding in document["violations"]} == {"account_granted", "account_spent"}
    code, text = run_command(metering_dsn)
    assert code == 1
    assert "NOT SOUND. 2 violations in 1 accounts" in " ".join(text.split())


def test_old_holds_do_not_fail_the_command(metering_dsn: str) -> None:
    with psycopg.connect(metering_dsn) as connection:
        connection.execute(
            "INSERT INTO account (client_id, last_at, granted, held) VALUES ('acme', '2026-01-01', 1, 1)"
        )
        connection.execute(
            "INSERT INTO ledger_entry (client_id, kind, credits, reference, actor, at) "
            "VALUES ('acme', 'grant', 1, 'g', 'ops', now())"
        )
        connection.execute(
            "INSERT INTO credit_grant (client_id, kind, grant_id, credits, effective_at, priority, actor, "
            "created_at, state, remaining) VALUES ('acme', 'grant', 'g', 1, now(), 50, 'ops', now(), 'live', 1)"
        )
        connection.execute(
            "INSERT INTO hold (client_id, hold_id, event_id, service, event_type, units, credits, counted_on, "
            "held_at, resolve_by, policy_id, policy_version) "
            "VALUES ('acme', gen_random_uuid(), 'e', 's', 't', 1, 1, '2025-12-31', %s, %s, 'free', 1)",
            [datetime(2026, 1, 1, tzinfo=UTC)] * 2,
        )
    code, text = run_command(metering_dsn, "--json")
    assert code == 0, text
    assert orjson.loads(text)["unfinishedCount"] == 1
