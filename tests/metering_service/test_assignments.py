"""Versions and assignments that are booked for later; and whom an operator may name."""

from typing import Any

import pytest

from tests.metering_service.conftest import ADMIN_KEY, Metering, event
from tests.metering_service.movable_clock import MovableClock


async def test_a_booked_version_is_in_force_from_its_moment_and_can_be_taken_back(
    metering: Metering, clock: MovableClock
) -> None:
    await metering.give("acme", grant=100)
    path, later = "/internal/policies/of-acme", "2026-04-01T00:00:00Z"
    for price in (7, 5):  # the second takes the first one's place
        booked = await metering.admin(
            "PUT", path, {"prices": {"plan_play.created": price}, "credits": "prepaid", "effectiveAt": later}
        )
    assert booked["effectiveAt"] == later
    shown = await metering.admin("GET", path)
    assert (shown["version"], shown["history"][0]["prices"]) == (1, {"plan_play.created": 5})
    first, second = event(), event()
    await metering.authorize(first)
    clock.advance(hours=2)
    await metering.authorize(second)
    assert [result["credits"] for result in await metering.settle_by_ids(first, second)] == [1, 5]
    assert (await metering.call("DELETE", f"{path}/booked", key=ADMIN_KEY))[0] == 404
    terms = {"prices": {"*": 9}, "effectiveAt": "2026-05-01T00:00:00Z"}
    await metering.admin("PUT", path, terms)
    await metering.admin("DELETE", f"{path}/booked")
    assert [version["version"] for version in (await metering.admin("GET", path))["history"]] == [2, 1]


async def test_a_trial_ends_in_the_policy_that_was_booked_for_then(metering: Metering, clock: MovableClock) -> None:
    for name, price in (("trial", 0), ("paid", 3), ("other", 4)):
        await metering.admin("PUT", f"/internal/policies/{name}", {"prices": {"*": price}, "credits": "prepaid"})
    path, end = "/internal/clients/acme/policy", "2026-04-10T00:00:00Z"
    body = {"policyId": "trial", "until": end, "then": "paid", "create": True}
    assigned = await metering.admin("PUT", path, body)
    assert (assigned["policyId"], assigned["until"]) == ("trial", end)
    assert assigned["booked"] == [{"policyId": "paid", "from": end, "until": None, "shadow": None}]
    assert await refusal(metering) is None
    clock.advance(days=10)
    assert await refusal(metering) == "api_balance_exhausted"
    shown = await metering.admin("GET", path)
    assert (shown["policyId"], [each["policyId"] for each in shown["past"]], shown["booked"]) == (
        "paid",
        ["trial"],
        [],
    )
    booked = await metering.admin("PUT", path, {"policyId": "other", "from": "2026-05-01T00:00:00Z"})
    assert [each["policyId"] for each in booked["booked"]] == ["other"]
    # From now on means: and not what was booked.
    assert (await metering.admin("PUT", path, {"policyId": "paid"}))["booked"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"from": "2026-03-31T21:59:59Z"}, "from"),
        ({"until": "2026-04-10T00:00:00Z"}, "then"),
        ({"then": "free"}, "until"),
        ({"until": "2026-03-31T21:00:00Z", "then": "free"}, "until"),
        ({"from": "tomorrow"}, "from"),
    ],
)
async def test_an_assignment_that_makes_no_sense_names_the_field(
    metering: Metering, body: dict[str, Any], field: str
) -> None:
    status, error = await metering.call(
        "PUT", "/internal/clients/acme/policy", {"policyId": "free", "create": True, **body}, key=ADMIN_KEY
    )
    assert (status, [detail["field"] for detail in error["details"]]) == (400, [field])


async def test_a_client_that_nobody_knows_is_refused_with_the_nearest_known_one(metering: Metering) -> None:
    await metering.give("acme-partner", grant=1)
    for path, body in (
        ("grants", {"grantId": "g", "credits": 5}),
        ("adjustments", {"adjustmentId": "a", "credits": 5, "reason": "r"}),
        ("policy", {"policyId": "free"}),
    ):
        method = "PUT" if path == "policy" else "POST"
        url = f"/internal/clients/acme-parnter/{path}"
        status, error = await metering.call(method, url, body, key=ADMIN_KEY)
        assert (status, error["code"]) == (404, "client_not_found")
        assert error["error"] == "Client acme-parnter is not known; did you mean acme-partner?"
    assert await metering.fetch("SELECT FROM account WHERE client_id = 'acme-parnter'") == []
    status, _ = await metering.call("GET", "/internal/clients/nobody/policy", key=ADMIN_KEY)
    assert status == 404


async def refusal(metering: Metering) -> str | None:
    """Ask for an event, and return the code of its refusal."""
    [decision] = await metering.authorize(event())
    code: str | None = decision.get("code")
    return code


async def test_no_client_has_a_policy_before_a_version_of_it_is_in_force(
    metering: Metering, clock: MovableClock
) -> None:
    """Else nothing would decide about its events, nor about its neighbours' in the same call."""
    policy, path = "/internal/policies/spring", "/internal/clients/acme/policy"
    terms = {"prices": {"*": 0}, "effectiveAt": "2026-04-10T00:00:00Z"}
    await metering.admin("PUT", policy, terms)
    for body in (
        {"policyId": "spring"},
        {"policyId": "spring", "from": "2026-04-09T23:59:59Z"},
        {"policyId": "free", "until": "2026-04-09T00:00:00Z", "then": "spring"},
    ):
        assert await refuse_change(metering, "PUT", path, {**body, "create": True}) == "policy_not_begun"
    await metering.admin("PUT", path, {"policyId": "spring", "from": "2026-04-10T00:00:00Z", "create": True})
    assert await refuse_change(metering, "DELETE", f"{policy}/booked") == "policy_not_begun"
    later = {**terms, "effectiveAt": "2026-04-11T00:00:00Z"}
    assert await refuse_change(metering, "PUT", policy, later) == "policy_not_begun"
    await metering.admin("PUT", policy, {**terms, "effectiveAt": "2026-04-09T00:00:00Z"})
    assert await refusal(metering) is None
    clock.advance(days=10)
    assert await refusal(metering) is None


async def refuse_change(metering: Metering, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    status, error = await metering.call(method, path, body, key=ADMIN_KEY)
    assert status == 409
    return error["code"]


async def test_a_shadow_that_is_booked_for_later_is_not_there_before_and_one_that_was_is_told(
    metering: Metering, clock: MovableClock
) -> None:
    path, later = "/internal/clients/acme/policy", "2026-04-10T00:00:00Z"
    await metering.admin("PUT", "/internal/policies/stricter", {"prices": {"*": 0}})
    await metering.give("acme")
    body = {"policyId": "of-acme", "from": later, "shadow": "stricter"}
    booked = await metering.admin("PUT", path, body)
    assert (booked["shadow"], [(each["from"], each["shadow"]) for each in booked["booked"]]) == (
        None,
        [(later, "stricter")],
    )
    clock.advance(days=11)
    ended = await metering.admin("PUT", path, {"policyId": "of-acme"})
    assert (ended["shadow"], [each["shadow"] for each in ended["past"]]) == (None, [None, "stricter"])
    assert await metering.admin("PUT", path, {"policyId": "of-acme"}) == ended
