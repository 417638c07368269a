"""Authorize: what is granted, what is refused, and that neither can be had twice."""

import asyncio
import uuid

from tests.metering_service.conftest import Metering, StartMetering, again, event
from tests.metering_service.movable_clock import MovableClock


async def test_grant_holds_the_price_and_charges_nothing_yet(metering: Metering) -> None:
    await metering.give("acme", grant=10, prices={"plan_play.created": 3})
    [decision] = await metering.authorize(attempt := event())
    assert decision["decision"] == "granted"
    assert decision["holdId"] == attempt["holdId"]
    assert decision["state"] == "held"
    assert decision["heldAt"] == "2026-03-31T22:00:00Z"
    assert decision["receipt"]["credits"] == 3
    assert decision["receipt"]["gates"]["credits"] == {"availableBefore": 10}
    assert await metering.balance("acme") == (10, 0, 3, 7)
    assert await metering.spends("acme") == []


async def test_same_attempt_again_holds_nothing_more(metering: Metering) -> None:
    await metering.give("acme", grant=10)
    attempt = event()
    first, second, third = (
        await metering.authorize(attempt)
        + await metering.authorize(attempt)
        + await metering.authorize(again(attempt))
    )
    assert first == second
    assert third["decision"] == "granted"
    assert third["holdId"] == attempt["holdId"]
    assert await metering.balance("acme") == (10, 0, 1, 9)


async def test_a_hold_is_the_same_in_upper_case(metering: Metering) -> None:
    await metering.give("acme", grant=10)
    attempt = event()
    [shouted] = await metering.authorize({**attempt, "holdId": attempt["holdId"].upper()})
    [spoken] = await metering.authorize(attempt)
    assert shouted == spoken
    assert spoken["holdId"] == attempt["holdId"]
    assert await metering.balance("acme") == (10, 0, 1, 9)


async def test_settled_event_is_granted_and_charged_no_more(metering: Metering) -> None:
    await metering.give("acme", grant=1)
    attempt = event()
    await metering.authorize(attempt)
    await metering.settle(attempt)
    [decision] = await metering.authorize(again(attempt))
    assert (decision["decision"], decision["state"]) == ("granted", "settled")
    assert decision["holdId"] == attempt["holdId"]
    assert "heldAt" not in decision
    assert await metering.balance("acme") == (1, 1, 0, 0)


async def test_hold_with_other_content_is_a_conflict(metering: Metering) -> None:
    attempt = event()
    await metering.authorize(attempt)
    other_event = event(holdId=attempt["holdId"])
    other_type = again(attempt, eventType="llm.tokens")
    other_units = again(attempt, units=2)
    decisions = await metering.authorize(other_event, other_type, other_units)
    assert [decision["code"] for decision in decisions] == [
        "hold_of_another_event",
        "event_with_other_content",
        "event_with_other_content",
    ]


async def test_ids_are_each_clients_own(metering: Metering) -> None:
    attempt = event()
    decisions = await metering.authorize(attempt, {**attempt, "clientId": "somebody-else"})
    assert [decision["decision"] for decision in decisions] == ["granted", "granted"]


async def test_attempts_that_contradict_each_other_concern_nobody_else(metering: Metering) -> None:
    await metering.give("acme", grant=10)
    await metering.give("somebody-else", grant=1)
    known = event()
    await metering.authorize(known)
    attempts = [again(known, userId=f"user-{number}") for number in range(20)] * 2
    *contradictions, other = await metering.authorize(*attempts, event("somebody-else"))
    assert {decision.get("code") for decision in contradictions} == {"event_with_other_content"}
    assert other["decision"] == "granted"


async def test_one_hold_named_for_two_events_of_a_call_is_the_first_ones(metering: Metering) -> None:
    attempt = event()
    others = [event(holdId=attempt["holdId"]) for _ in range(499)]
    first, *refused = await metering.authorize(attempt, *others)
    assert first["decision"] == "granted"
    assert {(decision["decision"], decision["message"]) for decision in refused} == {
        ("invalid", "holdId: Is named for another event, too.")
    }


async def test_released_hold_never_lives_again(metering: Metering) -> None:
    attempt = event()
    await metering.authorize(attempt)
    assert await metering.release(attempt) == ["released"]
    [decision] = await metering.authorize(attempt)
    assert (decision["decision"], decision["code"]) == ("conflict", "hold_released")
    [decision] = await metering.authorize(again(attempt))
    assert decision["decision"] == "granted"


async def test_release_before_its_authorize_refuses_the_authorize(metering: Metering) -> None:
    attempt = event()
    assert await metering.release(attempt) == ["released"]
    assert (await metering.authorize(attempt))[0]["code"] == "hold_released"


async def test_denial_keeps_nothing(metering: Metering) -> None:
    await metering.give("acme", grant=0)
    attempt = event()
    [decision] = await metering.authorize(attempt)
    assert (decision["decision"], decision["code"]) == ("denied", "api_balance_exhausted")
    assert decision["retryAfterSeconds"] is None
    assert await metering.fetch("SELECT FROM hold") == []
    await metering.give("acme", grant=1)
    [decision] = await metering.authorize(attempt)
    assert decision["decision"] == "granted"


async def test_bad_event_does_not_hurt_its_neighbours(metering: Metering) -> None:
    good = event()
    bad = [
        {**event(), "holdId": "not-a-uuid"},
        {**event(), "units": 0},
        {**event(), "units": 1.5},
        {**event(), "units": True},
        {**event(), "unknown": 1},
        {"holdId": str(uuid.uuid4())},
        "not an object",
    ]
    decisions = await metering.authorize(*bad[:3], good, *bad[3:])  # type: ignore[arg-type]
    assert [decision["decision"] for decision in decisions] == ["invalid"] * 3 + ["granted"] + ["invalid"] * 4
    assert "holdId" in decisions[0]["message"]


async def test_large_refused_event_does_not_block_smaller_ones_behind_it(metering: Metering) -> None:
    await metering.give("acme", grant=10)
    decisions = await metering.authorize(event(units=8), event(units=5), event(units=2))
    assert [decision["decision"] for decision in decisions] == ["granted", "denied", "granted"]


async def test_many_attempts_at_one_event_in_one_batch_share_one_hold(metering: Metering) -> None:
    await metering.give("acme", grant=100)
    attempt = event()
    decisions = await metering.authorize(*(again(attempt) for _ in range(50)))
    assert {decision["decision"] for decision in decisions} == {"granted"}
    assert len({decision["holdId"] for decision in decisions}) == 1
    assert await metering.balance("acme") == (100, 0, 1, 99)


async def test_parallel_events_never_oversell_through_two_processes(start_metering: StartMetering) -> None:
    metering = await start_metering(processes=2)
    await metering.give("acme", grant=100)
    decisions = await asyncio.gather(*(metering.authorize(event(), process=number % 2) for number in range(200)))
    verdicts = [decision["decision"] for [decision] in decisions]
    assert (verdicts.count("granted"), verdicts.count("denied")) == (100, 100)
    assert await metering.balance("acme") == (100, 0, 100, 0)


async def test_parallel_events_never_exceed_a_quota_through_two_processes(start_metering: StartMetering) -> None:
    metering = await start_metering(processes=2)
    await metering.give("acme", quotas=[{"name": "q", "limit": 100, "period": "day"}], credits="unlimited")
    decisions = await asyncio.gather(*(metering.authorize(event(), process=number % 2) for number in range(200)))
    codes = [decision.get("code") for [decision] in decisions]
    assert (codes.count(None), codes.count("api_quota_exceeded")) == (100, 100)


async def test_quota_refusal_tells_the_second_at_which_the_period_ends(
    metering: Metering, clock: MovableClock
) -> None:
    await metering.give("acme", quotas=[{"name": "q", "limit": 2, "period": "month"}], credits="unlimited")
    clock.advance(minutes=30, milliseconds=300)
    first, second = event(), event()
    await metering.authorize(first, second)
    await metering.settle(first, second)
    [decision] = await metering.authorize(event())
    assert decision["code"] == "api_quota_exceeded"
    assert decision["retryAfterSeconds"] == 5400
    clock.advance(seconds=5399)
    [decision] = await metering.authorize(event())
    assert (decision["decision"], decision["retryAfterSeconds"]) == ("denied", 1)
    clock.advance(seconds=1)
    decisions = await metering.authorize(event(), event(), event())
    assert [decision["decision"] for decision in decisions] == ["granted", "granted", "denied"]


async def test_what_was_held_in_a_period_counts_there_also_when_it_is_settled_in_the_next(
    metering: Metering, clock: MovableClock
) -> None:
    await metering.give("acme", quotas=[{"name": "q", "limit": 1, "period": "month"}], credits="unlimited")
    old, new = event(), event()
    await metering.authorize(old)
    clock.advance(hours=2)
    assert (await metering.authorize(new))[0]["decision"] == "granted"
    await metering.settle(old, new)
    [quota] = (await metering.admin("GET", "/internal/clients/acme/quota"))["quotas"]
    assert (quota["used"], quota["held"]) == (1, 0)


async def test_rate_refusal_tells_how_long_to_wait(metering: Metering) -> None:
    await metering.give(
        "acme", rates=[{"name": "r", "limit": 2, "periodSeconds": 60, "burst": 3}], credits="unlimited"
    )
    decisions = await metering.authorize(*(event() for _ in range(4)))
    assert [decision["decision"] for decision in decisions] == ["granted"] * 3 + ["denied"]
    assert decisions[3]["code"] == "api_rate_limited"
    assert decisions[3]["retryAfterSeconds"] == 30


async def test_retry_of_a_held_event_is_granted_over_the_rate(metering: Metering) -> None:
    await metering.give(
        "acme", rates=[{"name": "r", "limit": 1, "periodSeconds": 60, "burst": 1}], credits="unlimited"
    )
    attempt = event()
    first, second = await metering.authorize(attempt) + await metering.authorize(attempt)
    assert first["decision"] == second["decision"] == "granted"


async def test_policy_change_holds_from_the_next_decision_in_every_process(start_metering: StartMetering) -> None:
    metering = await start_metering(processes=2)
    await metering.give("acme", grant=10, prices={"plan_play.created": 1})
    assert (await metering.authorize(event(), process=1))[0]["receipt"]["credits"] == 1
    await metering.give(
        "acme", prices={"plan_play.created": 4}, rates=[{"name": "r", "limit": 1, "periodSeconds": 60, "burst": 2}]
    )
    decisions = await metering.authorize(event(), event(), event(), process=1)
    assert [decision["receipt"]["credits"] for decision in decisions] == [4, 4, 0]
    assert decisions[2]["code"] == "api_rate_limited"


async def test_shadow_records_what_it_would_refuse_and_refuses_nothing(metering: Metering) -> None:
    await metering.give("acme", mode="shadow", quotas=[{"name": "q", "limit": 0, "period": "day"}], credits="prepaid")
    attempt = event()
    [decision] = await metering.authorize(attempt)
    assert decision["decision"] == "granted"
    assert decision["receipt"]["wouldRefuse"] == "api_quota_exceeded"
    assert (await metering.settle(attempt))[0]["credits"] == 0
    assert await metering.balance("acme") == (0, 0, 0, 0)


async def test_client_without_a_policy_has_the_default(metering: Metering) -> None:
    decisions = await metering.authorize(*(event("nobody-knows") for _ in range(101)))
    assert [decision["decision"] for decision in decisions] == ["granted"] * 100 + ["denied"]
    assert decisions[0]["receipt"]["policyId"] == "free"
    assert decisions[0]["receipt"]["credits"] == 0


async def test_rates_open_without_redis_while_credits_stay_exact(start_metering: StartMetering) -> None:
    metering = await start_metering(redis_url="redis://127.0.0.1:1/0", redis_timeout_seconds=0.1)
    await metering.give("acme", grant=5, rates=[{"name": "r", "limit": 1, "periodSeconds": 60, "burst": 1}])
    decisions = await metering.authorize(*(event() for _ in range(8)))
    assert [decision.get("code") for decision in decisions] == [None] * 5 + ["api_balance_exhausted"] * 3
