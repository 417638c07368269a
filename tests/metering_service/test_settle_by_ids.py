"""Settle by ids alone: the units that it was, holds of named services, and what is remembered of a release."""

from datetime import timedelta

import asyncpg
import pytest

from metering_service.audit.run import audit_ledger
from metering_service.events.event_store import EventStore
from metering_service.retention.forget import forget
from tests.metering_service.conftest import OTHER_KEY, Metering, StartMetering, again, event, ids_of
from tests.metering_service.movable_clock import MovableClock


async def test_settled_by_its_ids_alone(metering: Metering) -> None:
    await metering.give("acme", grant=10, prices={"plan_play.created": 3})
    attempt = event(userId="user-1")
    await metering.authorize(attempt)
    [first] = await metering.settle_by_ids(attempt)
    [again_] = await metering.settle_by_ids(attempt)
    [further] = await metering.settle_by_ids(again(attempt))
    assert first == again_ == further == {**first, "state": "settled", "credits": 3, "late": False}
    assert first["holdId"] == attempt["holdId"]
    assert await metering.balance("acme") == (10, 3, 0, 7)


async def test_what_is_neither_held_nor_charged_is_unknown_until_it_is_told_whole(metering: Metering) -> None:
    attempt = event()
    [result] = await metering.settle_by_ids(attempt)
    assert result == {"holdId": attempt["holdId"], "eventId": attempt["eventId"], "state": "unknown"}
    assert await metering.spends("acme") == []
    assert (await metering.settle(attempt))[0]["late"] is True
    assert (await metering.settle_by_ids(attempt))[0]["state"] == "settled"


@pytest.mark.parametrize(("units", "credits", "late_spent"), [(10, 20, 0), (4, 8, 0), (0, 0, 0), (13, 26, 6)])
async def test_the_units_that_it_was_are_charged(
    metering: Metering, clock: MovableClock, units: int, credits: int, late_spent: int
) -> None:
    await metering.give("acme", grant=30, prices={"llm.tokens": 2})
    attempt = event(eventType="llm.tokens", units=10)
    await metering.authorize(attempt)
    [result] = await metering.settle_by_ids(attempt, units=units)
    assert (result["state"], result["credits"], result["late"]) == ("settled", credits, False)
    assert (await metering.settle_by_ids(attempt, units=7))[0] == result  # the first settle decides
    assert await metering.balance("acme") == (30, credits, 0, 30 - credits)
    [account] = await metering.fetch("SELECT late_spent FROM account WHERE client_id = 'acme'")
    assert account["late_spent"] == late_spent
    async with asyncpg.create_pool(metering.dsn, min_size=1, max_size=1) as pool:
        assert (await audit_ledger(pool, now=clock(), unresolved_after_seconds=60)).is_sound


async def test_holds_are_the_named_services_own(metering: Metering) -> None:
    attempt = event()
    await metering.authorize(attempt)
    for call in ("authorize", "settle", "release"):
        body = {"events": [attempt if call == "authorize" else ids_of(attempt)]}
        status, document = await metering.call("POST", f"/internal/events/{call}", body, key=OTHER_KEY)
        assert status == 200
        [answer] = document.get("decisions") or document["results"]
        assert (answer.get("decision") or answer["state"], answer["code"]) == ("conflict", "event_of_another_service")
    path = "/internal/events?state=held&olderThanSeconds=0"
    assert (await metering.call("GET", path, key=OTHER_KEY))[1]["events"] == []
    assert len((await metering.call("GET", path))[1]["events"]) == 1
    assert len((await metering.admin("GET", path))["events"]) == 1


async def test_one_hold_named_twice_in_a_release_is_refused_at_the_door(metering: Metering) -> None:
    body = {"events": [ids_of(event()), ids_of(one := event()), ids_of(one)]}
    status, error = await metering.call("POST", "/internal/events/release", body)
    assert (status, error["details"][0]["field"]) == (400, "events.2.holdId")


async def test_a_fact_told_by_halves_is_invalid(metering: Metering) -> None:
    attempt = event()
    for wrong in (attempt, {**ids_of(attempt), "userId": "u"}, {**ids_of(attempt), "units": -1}):
        status, document = await metering.call("POST", "/internal/events/settle", {"events": [wrong]})
        assert (status, document["results"][0]["state"]) == (200, "invalid")


async def test_tombstones_are_forgotten_after_the_retention_and_not_before(
    start_metering: StartMetering, clock: MovableClock
) -> None:
    metering = await start_metering(hold_retention_seconds=1000)
    first, second = event(), event()
    await metering.release(first)
    clock.advance(seconds=600)
    await metering.release(second)
    clock.advance(seconds=500)
    async with asyncpg.create_pool(metering.dsn, min_size=1, max_size=1) as pool:
        await forget(EventStore(pool).delete_expired, timedelta(seconds=1000))
    decisions = await metering.authorize(first, second)
    assert [decision["decision"] for decision in decisions] == ["granted", "conflict"]
