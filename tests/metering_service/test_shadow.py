"""A second policy beside the enforced one: it is decided about the same events, recorded, and refuses nothing."""

import asyncio
from typing import Any

import pytest

from tests.metering_service.conftest import ADMIN_KEY, Metering, StartMetering, event
from tests.metering_service.movable_clock import MovableClock
from tests.operator_command import run_command

STRICTER = {
    "rates": [],
    "quotas": [{"name": "daily", "limit": 5, "counts": "units", "period": "day"}],
    "prices": {"plan_play.created": 2},
    "credits": "prepaid",
}


@pytest.fixture
async def shadowed(start_metering: StartMetering) -> Metering:
    """Client acme on a policy that lets everything pass, with a stricter one beside it."""
    metering = await start_metering()
    await metering.give("acme", prices={"*": 0}, credits="unlimited")
    await put(metering, **STRICTER)
    return metering


async def put(metering: Metering, **terms: Any) -> None:
    await metering.admin("PUT", "/internal/policies/stricter", terms)
    body = {"policyId": "of-acme", "shadow": "stricter"}
    assert (await metering.admin("PUT", "/internal/clients/acme/policy", body))["shadow"] == "stricter"


async def report(metering: Metering, wanted: int) -> dict[tuple[str, str | None], tuple[int, int]]:
    """Return what would have been refused and its worth by code and limit, once it is so many events."""
    for _ in range(100):
        found = (await metering.admin("GET", "/internal/policies/stricter/shadow-report"))["refusals"]
        if sum(line["wouldRefuse"] for line in found) >= wanted:
            break
        await asyncio.sleep(0.05)
    assert {(line["clientId"], line["day"]) for line in found} <= {("acme", "2026-03-31")}
    return {(line["code"], line["limit"]): (line["wouldRefuse"], line["credits"]) for line in found}


async def test_what_a_stricter_policy_would_refuse_is_granted_and_reported(shadowed: Metering) -> None:
    await shadowed.admin("POST", "/internal/clients/acme/grants", {"grantId": "g", "credits": 100})
    for units in (3, 3, 2, 1):
        [decision] = await shadowed.authorize(event(units=units))
        assert decision["decision"] == "granted"
    # 3 pass, 3 more would not, 2 pass, and then 1 would not: what would have been refused does not count.
    assert await report(shadowed, 2) == {("api_quota_exceeded", "daily"): (2, 8)}


async def test_each_gate_of_the_shadow_has_its_code(shadowed: Metering) -> None:
    rate = {"name": "slow", "limit": 1, "periodSeconds": 3600, "burst": 3}
    await put(shadowed, **{**STRICTER, "rates": [rate]})
    await shadowed.authorize(event(eventType="unsold"))
    await shadowed.authorize(event(), event())
    await shadowed.authorize(event())
    assert await report(shadowed, 4) == {
        ("event_type_not_sold", None): (1, 0),
        ("api_balance_exhausted", None): (2, 4),
        ("api_rate_limited", "slow"): (1, 2),
    }


async def test_a_repeated_event_and_a_dry_one_are_judged_once_and_not_at_all(shadowed: Metering) -> None:
    attempt = event(units=6)
    for _ in range(3):
        await shadowed.authorize(attempt)
    body = {"events": [event(units=6)], "dryRun": True}
    assert (await shadowed.call("POST", "/internal/events/authorize", body))[0] == 200
    await shadowed.authorize(event(units=7))
    assert await report(shadowed, 2) == {("api_quota_exceeded", "daily"): (2, 26)}


async def test_a_change_of_the_shadow_is_seen_by_the_next_decision(shadowed: Metering) -> None:
    await shadowed.authorize(event())
    assert await report(shadowed, 1) == {("api_balance_exhausted", None): (1, 2)}
    await put(shadowed, prices={"*": 0})
    await shadowed.admin("PUT", "/internal/clients/acme/policy", {"policyId": "of-acme"})
    await shadowed.authorize(event(units=9))
    await shadowed.admin("PUT", "/internal/clients/acme/policy", {"policyId": "of-acme", "shadow": "stricter"})
    await shadowed.admin("PUT", "/internal/policies/stricter", STRICTER)
    await shadowed.authorize(event(units=6))
    assert await report(shadowed, 2) == {
        ("api_balance_exhausted", None): (1, 2),
        ("api_quota_exceeded", "daily"): (1, 12),
    }


async def test_the_quota_of_a_shadow_begins_anew_with_its_period(shadowed: Metering, clock: MovableClock) -> None:
    await shadowed.admin("POST", "/internal/clients/acme/grants", {"grantId": "g", "credits": 100})
    await shadowed.authorize(event(units=5))
    await shadowed.authorize(event())
    assert await report(shadowed, 1) == {("api_quota_exceeded", "daily"): (1, 2)}
    clock.advance(hours=2)
    await shadowed.authorize(event(units=5))
    await shadowed.authorize(event(userId="ann", units=9))
    for _ in range(100):
        found = (await shadowed.admin("GET", "/internal/policies/stricter/shadow-report?from=2026-04-01"))["refusals"]
        if found:
            break
        await asyncio.sleep(0.05)
    assert [(line["day"], line["wouldRefuse"]) for line in found] == [("2026-04-01", 1)]


async def test_a_policy_in_shadow_mode_is_reported_too(
    start_metering: StartMetering, monkeypatch: pytest.MonkeyPatch
) -> None:
    metering = await start_metering()
    await metering.admin("PUT", "/internal/policies/stricter", {**STRICTER, "mode": "shadow"})
    body = {"policyId": "stricter", "create": True}
    await metering.admin("PUT", "/internal/clients/acme/policy", body)
    await metering.authorize(event(units=6))
    assert await report(metering, 1) == {("api_quota_exceeded", "daily"): (1, 12)}


async def test_a_shadow_that_is_the_policy_itself_or_does_not_exist_is_refused(metering: Metering) -> None:
    await metering.give("acme")
    path = "/internal/clients/acme/policy"
    status, error = await metering.call("PUT", path, {"policyId": "free", "shadow": "free"}, key=ADMIN_KEY)
    assert (status, error["details"][0]["field"]) == (400, "shadow")
    status, error = await metering.call("PUT", path, {"policyId": "free", "shadow": "none"}, key=ADMIN_KEY)
    assert (status, error["error"]) == (404, "Policy none not found")
    status, error = await metering.call("GET", "/internal/policies/none/shadow-report", key=ADMIN_KEY)
    assert (status, error["error"]) == (404, "Policy none not found")


async def test_an_erased_user_counts_anew_and_not_among_the_events_of_nobody(shadowed: Metering) -> None:
    await put(shadowed, prices={"*": 0}, quotas=[{"name": "each", "limit": 2, "period": "day", "per": "user"}])
    await shadowed.authorize(*(event(userId="ann") for _ in range(3)))
    assert await report(shadowed, 1) == {("api_quota_exceeded", "each"): (1, 0)}
    who = ("--client", "acme", "--user", "ann", "--yes")
    assert (await run_command("metering", shadowed.dsn, "users", "erase", *who)).code == 0
    await shadowed.authorize(event(), event(), event(userId="ann"), event(userId="bob"), event(), event())
    assert await report(shadowed, 3) == {("api_quota_exceeded", "each"): (3, 0)}
