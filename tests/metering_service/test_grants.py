"""Credits for a time: grants that begin and expire, what holds keep of them, voids and refunds."""

import asyncio
from typing import Any

import asyncpg
import pytest

from metering_service.accounts.move_on import move_accounts
from service_chassis.database.pool import open_pool
from tests.metering_service.conftest import ADMIN_KEY, Metering, StartMetering, event
from tests.metering_service.credits import PATH, balance, decide, grant, lefts, lines, refuse
from tests.metering_service.movable_clock import MovableClock


async def test_grants_are_drawn_by_priority_then_by_expiry_then_by_age(acme: Metering) -> None:
    await grant(acme, "for good", 5)
    await grant(acme, "later", 5, expiresAt="2026-06-01T00:00:00Z")
    await grant(acme, "soon", 5, expiresAt="2026-05-01T00:00:00Z")
    await grant(acme, "first", 5, priority=1)
    assert await lefts(acme) == [("first", 5), ("soon", 5), ("later", 5), ("for good", 5)]
    attempt = event(units=7)
    await acme.authorize(attempt, event(units=6))
    await acme.settle({**attempt, "units": 7})
    assert await lefts(acme) == [("first", 0), ("soon", 0), ("later", 2), ("for good", 5)]
    found = await balance(acme)
    assert found["expiringNext"] == {"credits": 2, "at": "2026-06-01T00:00:00Z"}
    receipt = await acme.admin("GET", f"/internal/events/{attempt['eventId']}?clientId=acme")
    assert receipt["receipt"]["grants"] == [
        {"kind": "grant", "grantId": "soon", "credits": 2},
        {"kind": "grant", "grantId": "first", "credits": 5},
    ]
    assert (found["granted"], found["spent"], found["held"], found["available"]) == (20, 7, 6, 7)


async def test_a_grant_is_worth_nothing_before_and_after_its_time(acme: Metering, clock: MovableClock) -> None:
    await grant(acme, "april", 5, effectiveAt="2026-04-01T00:00:00Z", expiresAt="2026-05-01T00:00:00Z")
    assert await decide(acme, 1) == "api_balance_exhausted"
    assert await lines(acme) == []
    clock.advance(hours=2)
    assert await decide(acme, 1) == "granted"
    clock.advance(days=30)
    assert await decide(acme, 1) == "api_balance_exhausted"
    assert await lines(acme) == [("grant", 5, "2026-04-01T00:00:00Z"), ("expire", -4, "2026-05-01T00:00:00Z")]


async def test_what_took_effect_while_nobody_asked_is_dated_when_it_did(acme: Metering, clock: MovableClock) -> None:
    await grant(acme, "april", 5, expiresAt="2026-05-01T00:00:00Z")
    clock.advance(days=90)
    entries = (await acme.admin("GET", f"{PATH}/ledger"))["entries"]
    assert [(entry["at"], entry.get("postedAt"), entry["actor"]) for entry in entries] == [
        ("2026-03-31T22:00:00Z", None, "ops"),
        ("2026-05-01T00:00:00Z", "2026-06-29T22:00:00Z", "metering"),
    ]


async def test_a_hold_keeps_what_it_lies_on_when_the_grant_expires(acme: Metering, clock: MovableClock) -> None:
    await grant(acme, "april", 5, expiresAt="2026-05-01T00:00:00Z")
    await grant(acme, "for good", 5)
    kept, partly, released = event(units=2), event(units=2), event(units=3)
    for attempt in (kept, partly, released):
        await acme.authorize(attempt)
        clock.advance(seconds=1)
    clock.advance(days=40)
    # All of the expiring grant was held, so nothing of it lapsed; of the last hold 1 lies on it and 2 on the other.
    assert (await balance(acme))["expired"] == 0
    assert await acme.settle({**kept, "units": 2}, {**partly, "units": 1})
    await acme.release(released)
    found = await balance(acme)
    assert (found["spent"], found["expired"], found["held"], found["available"]) == (3, 2, 0, 5)
    assert sorted(line[1] for line in await lines(acme, "expire")) == [-1, -1]


async def test_what_no_grant_covers_is_paid_by_the_next_one(acme: Metering, clock: MovableClock) -> None:
    await acme.settle({**event(), "units": 4})
    assert (await balance(acme))["available"] == -4
    await grant(acme, "next", 10, expiresAt="2026-05-01T00:00:00Z")
    clock.advance(days=40)
    found = await balance(acme)
    assert (found["granted"], found["spent"], found["expired"], found["available"]) == (10, 4, 6, 0)


async def test_a_voided_grant_leaves_only_what_is_held(acme: Metering) -> None:
    await grant(acme, "wrong", 10)
    held = event(units=4)
    await acme.authorize(held)
    body = {"reason": "A mistake"}
    voided = await acme.admin("POST", f"{PATH}/grants/wrong/void", body)
    assert voided == {"clientId": "acme", "grantId": "wrong", "voided": 6, "held": 4}
    assert await acme.admin("POST", f"{PATH}/grants/wrong/void", body) == voided
    assert await decide(acme, 1) == "api_balance_exhausted"
    await acme.settle({**held, "units": 1})
    assert [line[:2] for line in await lines(acme, "void")] == [("void", -6), ("void", -3)]
    assert (await balance(acme))["available"] == 0


async def test_a_booked_grant_can_be_voided_before_it_begins(acme: Metering, clock: MovableClock) -> None:
    await grant(acme, "booked", 10, effectiveAt="2026-04-01T00:00:00Z")
    await acme.admin("POST", f"{PATH}/grants/booked/void", {"reason": "Not any more"})
    clock.advance(days=2)
    assert (await balance(acme))["granted"] == 0
    assert await lines(acme) == []


async def test_a_void_of_what_is_not_there_or_has_ended_is_refused(acme: Metering, clock: MovableClock) -> None:
    reason = {"reason": "test"}
    assert await refuse(acme, "POST", "grants/none/void", reason) == (404, "grant_not_found")
    await grant(acme, "short", 1, expiresAt="2026-04-01T00:00:00Z")
    clock.advance(days=1)
    assert await refuse(acme, "POST", "grants/short/void", reason) == (409, "grant_ended")
    await grant(acme, "used", 1)
    await acme.settle(event())
    assert await refuse(acme, "POST", "grants/used/void", reason) == (409, "grant_ended")


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"expiresAt": "2026-03-31T22:00:00Z"}, "expiresAt"),
        ({"effectiveAt": "2026-05-01T00:00:00Z", "expiresAt": "2026-05-01T00:00:00Z"}, "expiresAt"),
        ({"priority": 101}, "priority"),
        ({"effectiveAt": "tomorrow"}, "effectiveAt"),
    ],
)
async def test_wrong_terms_of_a_grant_are_refused_by_name(acme: Metering, terms: Any, field: str) -> None:
    body = {"grantId": "g", "credits": 1, **terms}
    assert await refuse(acme, "POST", "grants", body) == (400, field)


async def test_the_same_grant_later_is_the_same_and_with_another_end_is_refused(
    acme: Metering, clock: MovableClock
) -> None:
    terms = {"effectiveAt": "2026-04-01T00:00:00Z", "expiresAt": "2026-05-01T00:00:00Z", "priority": 3}
    first = await grant(acme, "g", 5, **terms)
    clock.advance(days=60)
    assert await grant(acme, "g", 5, **terms) == first
    for changes in ({"priority": 4}, {"expiresAt": None}, {"effectiveAt": None}, {"credits": 6}):
        body = {"grantId": "g", "credits": 5, **terms, **changes}
        assert await refuse(acme, "POST", "grants", body) == (409, "reference_reused")


async def test_refunds_of_an_event_are_at_most_its_charge(acme: Metering) -> None:
    await grant(acme, "g", 10)
    attempt = event(units=5)
    await acme.authorize(attempt)
    path, body = "refunds", {"refundId": "r1", "eventId": attempt["eventId"], "credits": 2, "reason": "It failed"}
    assert await refuse(acme, "POST", path, body) == (404, "event_not_charged")
    await acme.settle({**attempt, "units": 5})
    first = await acme.admin("POST", f"{PATH}/{path}", body)
    assert await acme.admin("POST", f"{PATH}/{path}", body) == first
    assert await refuse(acme, "POST", path, {**body, "refundId": "r2", "credits": 4}) == (409, "refund_too_large")
    assert await refuse(acme, "POST", path, {**body, "credits": 1}) == (409, "reference_reused")
    rest = await acme.admin("POST", f"{PATH}/{path}", {**body, "refundId": "r3", "credits": None})
    assert rest["credits"] == 3
    assert await refuse(acme, "POST", path, {**body, "refundId": "r4", "credits": None}) == (409, "refund_too_large")
    found = await balance(acme)
    assert (found["granted"], found["spent"], found["available"]) == (15, 5, 10)
    [line, _] = [
        entry for entry in (await acme.admin("GET", f"{PATH}/ledger"))["entries"] if entry["kind"] == "refund"
    ]
    assert (line["credits"], line["eventId"], line["reference"], line["actor"], line["note"]) == (
        *(2, attempt["eventId"], "r1"),
        *("ops", "It failed"),
    )


async def test_one_charge_is_refunded_once_however_many_ask_at_once(start_metering: StartMetering) -> None:
    metering = await start_metering(processes=2)
    await metering.give("acme", grant=5)
    attempt = event(units=5)
    await metering.authorize(attempt)
    await metering.settle({**attempt, "units": 5})
    statuses = await asyncio.gather(
        *(
            metering.call(
                "POST",
                f"{PATH}/refunds",
                {"refundId": f"r{number}", "eventId": attempt["eventId"], "credits": 5, "reason": "all"},
                key=ADMIN_KEY,
                process=number % 2,
            )
            for number in range(8)
        )
    )
    assert sorted(status for status, _ in statuses) == [200] + [409] * 7
    assert (await balance(metering))["available"] == 5


async def test_accounts_that_nobody_asks_for_are_moved_on_by_the_job(acme: Metering, clock: MovableClock) -> None:
    await grant(acme, "april", 5, expiresAt="2026-05-01T00:00:00Z")
    await acme.admin("POST", "/internal/clients/bob/grants", {"grantId": "g", "credits": 1, "create": True})
    clock.advance(days=60)
    async with open_pool(acme.dsn, size=2, application_name="test") as pool:
        await move_accounts(pool)
    [row] = await acme.fetch("SELECT expired, next_moment = 'infinity' FROM account WHERE client_id = 'acme'")
    assert tuple(row) == (5, True)


async def test_one_account_that_is_locked_does_not_keep_the_job_from_the_others(
    acme: Metering, clock: MovableClock
) -> None:
    for client_id in ("acme", "bob"):
        body = {"grantId": "g", "credits": 1, "expiresAt": "2026-05-01T00:00:00Z", "create": True}
        await acme.admin("POST", f"/internal/clients/{client_id}/grants", body)
    clock.advance(days=60)
    locker = await asyncpg.connect(acme.dsn)
    try:
        async with locker.transaction():
            await locker.execute("SELECT FROM account WHERE client_id = 'acme' FOR UPDATE")
            async with open_pool(acme.dsn, size=2, application_name="test", settings={"lock_timeout": "50"}) as pool:
                await move_accounts(pool)
    finally:
        await locker.close()
    rows = await acme.fetch("SELECT client_id FROM account WHERE expired > 0")
    assert [client_id for (client_id,) in rows] == ["bob"]
