"""What is kept for a while is forgotten then and not before; what was charged is known for ever."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from metering_service import components
from metering_service.events.event_store import EventStore
from metering_service.retention import forget as retention
from tests.metering_service.conftest import Metering, StartMetering, again, event
from tests.metering_service.movable_clock import MovableClock
from tests.metering_service.test_audit import audit

TERMS: dict[str, Any] = {
    "rates": [{"name": "each", "limit": 60, "periodSeconds": 60, "burst": 100}],
    "quotas": [{"name": "of a user", "limit": 10, "period": "day", "per": "user"}],
}


async def charge(metering: Metering, count: int) -> list[dict[str, Any]]:
    """Charge some events, each at once, so that none is in another's batch."""
    attempts = [event(userId=f"user-{number}") for number in range(count)]
    for attempt in attempts:
        await metering.authorize(attempt)
        await metering.settle_by_ids(attempt)
    return attempts


def begin_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have also the tasks that come seldom begin at the start of a process."""
    monkeypatch.setattr(components, "BEGIN_SECONDS", 0)


async def read_receipt(metering: Metering, attempt: dict[str, Any]) -> dict[str, Any]:
    state = await metering.admin("GET", f"/internal/events/{attempt['eventId']}?clientId=acme")
    receipt: dict[str, Any] = state["receipt"]
    return receipt


async def test_old_receipts_forget_what_stood_at_each_limit_and_the_charge_stays_a_charge(
    start_metering: StartMetering, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_LINES_AT_ONCE", 1)
    metering = await start_metering()
    await metering.give("acme", grant=20, **TERMS)
    old = []
    for _ in range(3):
        old += await charge(metering, 1)
        clock.advance(days=1)
    clock.advance(days=10)
    young = await charge(metering, 2)
    before = await read_receipt(metering, old[0])
    assert before["gates"]["quotas"][0]["usedBefore"] == 0
    books = [await metering.balance("acme"), await metering.spends("acme")]

    # Every process forgets soon after its start, and then by the hour.
    begin_at_once(monkeypatch)
    metering = await start_metering(receipt_retention_days=9)
    async with asyncio.timeout(20):
        while (await read_receipt(metering, old[-1]))["gates"] is not None:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.05)
    assert await read_receipt(metering, old[0]) == before | {"gates": None}
    for attempt in young:
        assert (await read_receipt(metering, attempt))["gates"]["rates"][0]["usedBefore"] is not None
    columns = "num_nonnulls(rates_used, taken_before, overage, available_before)"
    kept = await metering.fetch(f"SELECT {columns} > 0 AS kept FROM ledger_entry WHERE kind = 'spend' ORDER BY at")
    assert [each["kept"] for each in kept] == [False, False, False, True, True]
    assert [await metering.balance("acme"), await metering.spends("acme")] == books

    # Sent again it is not charged again; it is found by client and time; it can be given back.
    [decision] = await metering.authorize(again(old[0]))
    assert (decision["decision"], decision["state"]) == ("granted", "settled")
    assert [each["state"] for each in await metering.settle(old[0], again(old[1]))] == ["settled"] * 2
    listed = await metering.admin("GET", "/internal/clients/acme/decisions")
    assert [line["receipt"]["gates"] is None for line in listed["decisions"]] == [False, False, True, True, True]
    refund = {"refundId": "r", "eventId": old[0]["eventId"], "reason": "asked for"}
    await metering.admin("POST", "/internal/clients/acme/refunds", refund)
    assert [await metering.spends("acme")] == books[1:]
    assert (await audit(metering, clock)).violations == []


async def test_counters_of_periods_long_over_are_forgotten_unless_something_is_held_in_them(
    metering: Metering, clock: MovableClock
) -> None:
    await metering.give("acme", grant=20, **TERMS)
    await charge(metering, 3)
    held = event(userId="user-9")
    await metering.authorize(held)
    clock.advance(days=30)
    await charge(metering, 1)
    clock.advance(days=7)

    async def list_users() -> list[str]:
        return [user for (user,) in await metering.fetch("SELECT user_id FROM counter ORDER BY starts_at, user_id")]

    assert await list_users() == ["user-0", "user-1", "user-2", "user-9", "user-0"]
    async with asyncpg.create_pool(metering.dsn, min_size=1, max_size=1) as pool:
        await retention.forget(EventStore(pool).delete_ended_counters, retention.COUNTERS_KEPT)
    assert await list_users() == ["user-9", "user-0"]
    assert (await audit(metering, clock)).violations == []
    await metering.settle_by_ids(held)
    async with asyncpg.create_pool(metering.dsn, min_size=1, max_size=1) as pool:
        await retention.forget(EventStore(pool).delete_ended_counters, retention.COUNTERS_KEPT)
    assert await list_users() == ["user-0"]
    assert (await audit(metering, clock)).violations == []


async def test_what_shadow_policies_would_have_refused_is_forgotten_in_time(
    start_metering: StartMetering, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_ROWS_A_ROUND", 1)
    metering = await start_metering(shadow_retention_days=3650)
    for age in range(5):
        await metering.fetch(
            "INSERT INTO shadow_refusal VALUES ('p', $1, 'acme', 'c', '', 1, 1)",
            clock.now.date() - timedelta(days=age),
        )
    begin_at_once(monkeypatch)
    await start_metering(shadow_retention_days=2)
    async with asyncio.timeout(20):
        while len(await metering.fetch("SELECT FROM shadow_refusal")) > 3:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.05)
    assert len(await metering.fetch("SELECT FROM shadow_refusal")) == 3
