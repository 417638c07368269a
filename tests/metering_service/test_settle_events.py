"""Settle and release: one ledger line a fact, whatever the order and however often."""

import asyncio

import asyncpg

from metering_service.audit.run import audit_ledger
from tests.metering_service.conftest import ADMIN_KEY, Metering, StartMetering, again, event, ids_of
from tests.metering_service.movable_clock import MovableClock


async def test_settle_charges_once_however_often_it_is_sent(start_metering: StartMetering) -> None:
    metering = await start_metering(processes=2)
    await metering.give("acme", grant=10, prices={"plan_play.created": 2})
    attempt = event()
    await metering.authorize(attempt)
    results = await asyncio.gather(*(metering.settle(attempt, process=number % 2) for number in range(20)))
    assert {str(result) for result in results} == {
        str(
            [
                {
                    "holdId": attempt["holdId"],
                    "eventId": attempt["eventId"],
                    "state": "settled",
                    "credits": 2,
                    "late": False,
                }
            ]
        )
    }
    assert await metering.balance("acme") == (10, 2, 0, 8)
    assert [entry["credits"] for entry in await metering.spends("acme")] == [-2]


async def test_a_hold_pays_for_one_fact_even_when_one_call_names_it_for_two(
    metering: Metering, clock: MovableClock
) -> None:
    await metering.give("acme", grant=10)
    first = event()
    second = event(holdId=first["holdId"])
    await metering.authorize(first)
    results = await metering.settle(first, second, again(first), first)
    assert [(result["state"], result.get("late")) for result in results] == [
        ("settled", False),
        ("settled", True),  # it happened, and nothing was held for it
        ("settled", False),
        ("settled", False),
    ]
    assert await metering.balance("acme") == (10, 2, 0, 8)
    async with asyncpg.create_pool(metering.dsn, min_size=1, max_size=1) as pool:
        assert (await audit_ledger(pool, now=clock(), unresolved_after_seconds=60)).is_sound


async def test_a_live_hold_of_another_event_is_a_conflict(metering: Metering) -> None:
    await metering.authorize(held := event())
    results = await metering.settle(event(holdId=held["holdId"]))
    assert [(result["state"], result["code"]) for result in results] == [("conflict", "hold_of_another_event")]


async def test_fact_with_an_unknown_hold_is_charged_late(metering: Metering) -> None:
    await metering.give("acme", grant=1, prices={"plan_play.created": 3})
    attempt = event()
    first, second = await metering.settle(attempt) + await metering.settle(attempt)
    assert first == second
    assert (first["state"], first["credits"], first["late"]) == ("settled", 3, True)
    assert await metering.balance("acme") == (1, 3, 0, -2)
    # What is owed keeps the next event out, and a grant pays it first.
    assert (await metering.authorize(event()))[0]["code"] == "api_balance_exhausted"
    await metering.give("acme", grant=5, prices={"plan_play.created": 3})
    assert (await metering.authorize(event()))[0]["decision"] == "granted"


async def test_fact_with_a_released_hold_is_charged_late_at_the_present_price(metering: Metering) -> None:
    await metering.give("acme", grant=10, prices={"plan_play.created": 3})
    attempt = event()
    await metering.authorize(attempt)
    await metering.release(attempt)
    await metering.give("acme", prices={"plan_play.created": 9})
    [result] = await metering.settle(attempt)
    assert (result["credits"], result["late"]) == (9, True)
    assert await metering.balance("acme") == (10, 9, 0, 1)


async def test_fact_released_before_it_was_authorized_is_charged_late(metering: Metering) -> None:
    await metering.give("acme", grant=10)
    attempt = event()
    await metering.release(attempt)
    [result] = await metering.settle(attempt)
    assert (result["state"], result["late"]) == ("settled", True)
    assert await metering.balance("acme") == (10, 1, 0, 9)


async def test_late_settle_of_an_old_attempt_uses_the_live_hold(metering: Metering) -> None:
    await metering.give("acme", grant=10)
    old = event()
    await metering.authorize(old)
    await metering.release(old)
    await metering.authorize(new := again(old))
    assert (await metering.settle(old))[0]["late"] is False
    assert (await metering.settle(new))[0]["state"] == "settled"
    assert await metering.balance("acme") == (10, 1, 0, 9)
    assert len(await metering.spends("acme")) == 1


async def test_release_after_settle_changes_nothing(metering: Metering) -> None:
    attempt = event()
    await metering.authorize(attempt)
    await metering.settle(attempt)
    assert await metering.release(attempt) == ["settled"]
    assert len(await metering.spends("acme")) == 1


async def test_release_gives_back_credits_and_quota(metering: Metering) -> None:
    await metering.give("acme", grant=1, quotas=[{"name": "q", "limit": 1, "period": "day"}])
    attempt = event()
    await metering.authorize(attempt)
    assert (await metering.authorize(event()))[0]["decision"] == "denied"
    assert await metering.release(attempt) == await metering.release(attempt) == ["released"]
    assert await metering.balance("acme") == (1, 0, 0, 1)
    assert (await metering.authorize(event()))[0]["decision"] == "granted"


async def test_settle_with_other_content_is_a_conflict_and_charges_nothing(metering: Metering) -> None:
    await metering.give("acme", grant=10)
    attempt = event()
    await metering.authorize(attempt)
    conflict, settled = await metering.settle(again(attempt, userId="somebody"), event())
    assert (conflict["state"], settled["state"]) == ("conflict", "settled")
    assert await metering.balance("acme") == (10, 1, 1, 8)


async def test_one_fact_many_times_in_one_batch_is_charged_once(metering: Metering) -> None:
    await metering.give("acme", grant=10)
    attempt = event()
    results = await metering.settle(*(again(attempt) for _ in range(20)))
    assert {result["state"] for result in results} == {"settled"}
    assert await metering.balance("acme") == (10, 1, 0, 9)


async def test_holds_settles_and_releases_at_once_keep_every_sum(start_metering: StartMetering) -> None:
    metering = await start_metering(processes=2)
    clients = ["one", "two", "three"]
    for client_id in clients:
        await metering.give(client_id, grant=40, quotas=[{"name": "q", "limit": 1000, "period": "month"}])

    async def live(number: int) -> None:
        attempt = event(clients[number % 3])
        [decision] = await metering.authorize(attempt, process=number % 2)
        if decision["decision"] == "granted":
            if number % 4 == 0:
                await metering.release(attempt, process=1 - number % 2)
            else:
                await metering.settle(attempt, process=1 - number % 2)

    await asyncio.gather(*(live(number) for number in range(150)))
    for client_id in clients:
        granted, spent, held, available = await metering.balance(client_id)
        assert (granted, held) == (40, 0)
        assert available >= 0
        assert granted == spent + available
        entries = await metering.spends(client_id)
        assert len(entries) == spent
        [quota] = (await metering.admin("GET", f"/internal/clients/{client_id}/quota"))["quotas"]
        assert (quota["used"], quota["held"]) == (spent, 0)


async def test_event_look_up_shows_state_and_receipt(metering: Metering, clock: MovableClock) -> None:
    await metering.give("acme", grant=10, quotas=[{"name": "q", "limit": 5, "period": "month"}])
    attempt = event()
    path = f"/internal/events/{attempt['eventId']}?clientId=acme"
    assert (await metering.call("GET", path))[0] == 404
    await metering.authorize(attempt)
    _, held = await metering.call("GET", path)
    assert (held["state"], held["holdId"]) == ("held", attempt["holdId"])
    clock.advance(seconds=3)
    await metering.settle(attempt)
    _, settled = await metering.call("GET", path)
    assert settled["state"] == "settled"
    assert settled["receipt"]["policyVersion"] == 1
    assert settled["receipt"]["gates"]["quotas"] == [
        {"name": "q", "limit": 5, "usedBefore": 0, "amount": 1, "overage": 0}
    ]
    assert settled["receipt"]["heldAt"] == "2026-03-31T22:00:00Z"
    assert settled["receipt"]["settledAt"] == "2026-03-31T22:00:03Z"


async def test_held_look_up_pages_through_old_holds_whole(metering: Metering, clock: MovableClock) -> None:
    old = [event(userId="user-1"), event(units=2), event()]
    for attempt in old:
        await metering.authorize(attempt)
        clock.advance(seconds=1)
    clock.advance(seconds=60)
    await metering.authorize(event())
    found = []
    path = "/internal/events?state=held&olderThanSeconds=30&limit=2"
    _, page = await metering.call("GET", path)
    found += page["events"]
    _, page = await metering.call("GET", f"{path}&cursor={page['nextCursor']}")
    found += page["events"]
    assert page["nextCursor"] is None
    assert [{**one, "heldAt": None} for one in found] == [{"units": 1, **attempt, "heldAt": None} for attempt in old]
    status, error = await metering.call("GET", f"{path}&cursor=made-up")
    assert (status, error["details"][0]["field"]) == (400, "cursor")


async def test_keys_open_only_their_scope(metering: Metering) -> None:
    body = {"events": [event()]}
    assert (await metering.call("POST", "/internal/events/authorize", body, key=ADMIN_KEY))[0] == 403
    assert (await metering.call("POST", "/internal/events/authorize", body, key="unknown"))[0] == 401
    assert (await metering.call("GET", "/internal/clients/acme/balance"))[0] == 403


async def test_batch_of_none_or_too_many_is_refused_whole(metering: Metering) -> None:
    for events in ([], [event()] * 501, None, "x"):
        status, error = await metering.call("POST", "/internal/events/settle", {"events": events})
        assert (status, error["details"][0]["field"]) == (400, "events")
    status, document = await metering.call("POST", "/internal/events/release", {"events": [ids_of(event()), "x"]})
    assert [result["state"] for result in document["results"]] == ["released", "invalid"]
    status, error = await metering.call("GET", "/internal/events/x")
    assert (status, error["details"][0]["field"]) == (400, "clientId")
