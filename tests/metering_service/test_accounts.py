"""What an operator changes: policies, assignments, grants, adjustments; and what the ledger then shows."""

import asyncio
from typing import Any

import pytest

from tests.metering_service.conftest import ADMIN_KEY, Metering, StartMetering, event

ALL = {"per": "client", "eventTypes": ["*"]}
TERMS = {
    "rates": [{"name": "r", "limit": 60, "periodSeconds": 60, "burst": 100, **ALL}],
    "quotas": [
        {"name": "q", "limit": 5, "counts": "events", "period": "month", "anchor": "calendar", **ALL, "overage": 0}
    ],
    "prices": {"plan_play.created": 1},
    "credits": "prepaid",
    "mode": "enforce",
}


async def test_each_change_of_a_policy_is_a_version_and_the_same_terms_are_none(metering: Metering) -> None:
    path = "/internal/policies/starter"
    first = await metering.admin("PUT", path, TERMS)
    same = await metering.admin("PUT", path, TERMS)
    second = await metering.admin("PUT", path, {**TERMS, "mode": "shadow"})
    assert (first["version"], same["version"], second["version"]) == (1, 1, 2)
    shown = await metering.admin("GET", path)
    assert [version["version"] for version in shown["history"]] == [2, 1]
    assert {name: shown["history"][1][name] for name in TERMS} == TERMS
    listed = await metering.admin("GET", "/internal/policies")
    assert [policy["policyId"] for policy in listed["policies"]] == ["free", "starter"]


async def test_policies_are_listed_in_pages(metering: Metering) -> None:
    for name in ("a", "b", "c"):
        await metering.admin("PUT", f"/internal/policies/{name}", {"prices": {"*": 0}})
    page = await metering.admin("GET", "/internal/policies?limit=2")
    rest = await metering.admin("GET", f"/internal/policies?limit=3&cursor={page['nextCursor']}")
    names = [policy["policyId"] for policy in page["policies"] + rest["policies"]]
    assert names == ["a", "b", "c", "free"]
    assert rest["nextCursor"] is None


async def test_a_policy_whose_first_version_is_booked_is_listed_until_that_is_taken_back(metering: Metering) -> None:
    path = "/internal/policies/spring"
    booked = await metering.admin("PUT", path, {"prices": {"*": 0}, "effectiveAt": "2099-01-01T00:00:00Z"})
    listed = (await metering.admin("GET", "/internal/policies"))["policies"]
    assert [policy["policyId"] for policy in listed] == ["free", "spring"]
    assert listed[1]["effectiveAt"] == booked["effectiveAt"]
    await metering.admin("DELETE", f"{path}/booked")
    listed = (await metering.admin("GET", "/internal/policies"))["policies"]
    assert [policy["policyId"] for policy in listed] == ["free"]


async def test_the_largest_grant_and_the_largest_correction_are_accepted(metering: Metering) -> None:
    largest = 10**12
    path = "/internal/clients/acme"
    await metering.admin("POST", f"{path}/grants", {"grantId": "g", "credits": largest, "create": True})
    await metering.admin("POST", f"{path}/adjustments", {"adjustmentId": "a", "credits": -largest, "reason": "all"})
    balance = await metering.admin("GET", f"{path}/balance")
    assert (balance["granted"], balance["adjusted"], balance["available"]) == (largest, -largest, 0)


WRONG_TERMS: Any = [
    ({"rates": [{"name": "r", "limit": 0, "periodSeconds": 60, "burst": 1}]}, "rates.0.limit"),
    ({"rates": [{"name": "r", "limit": 2, "periodSeconds": 60}]}, "rates.0.burst"),
    ({"rates": [{"limit": 2, "periodSeconds": 60, "burst": 1}]}, "rates.0.name"),
    ({"rates": [{"name": f"r{n}", "limit": 2, "periodSeconds": 1, "burst": 1} for n in range(9)]}, "rates"),
    ({"quotas": [{"name": "q", "limit": 5, "period": "fortnight"}]}, "quotas.0.period"),
    ({"quotas": [{"name": "q", "limit": 5.5, "period": "day"}]}, "quotas.0.limit"),
    ({"quotas": [{"name": "q", "limit": 5, "period": "day"}] * 2}, "quotas.1.name"),
    ({"quotas": [{"name": "q", "limit": 5, "period": "day", "overage": "much"}]}, "quotas.0.overage"),
    ({"quotas": [{"name": "q", "limit": 5, "period": "day", "eventTypes": []}]}, "quotas.0.eventTypes"),
    ({"prices": {"plan_play.created": -1}}, "prices.plan_play.created"),
    ({"prices": {}}, "prices"),
    ({"prices": None}, "prices"),
    ({"credits": "postpaid"}, "credits"),
    ({"credits": {"overdraft": 0}}, "credits.overdraft"),
    ({"mode": "off"}, "mode"),
    ({"limits": 1}, "limits"),
    ({"effectiveAt": "2026-03-31T21:59:59Z"}, "effectiveAt"),
]


async def test_wrong_terms_are_refused_naming_the_field(metering: Metering, subtests: pytest.Subtests) -> None:
    for terms, field in WRONG_TERMS:
        with subtests.test(terms=terms, field=field):
            body = {"prices": {"*": 0}, **terms}
            status, error = await metering.call("PUT", "/internal/policies/x", body, key=ADMIN_KEY)
            assert status == 400
            assert [detail["field"] for detail in error["details"]] == [field]


async def test_assigning_an_unknown_policy_changes_nothing(metering: Metering) -> None:
    status, error = await metering.call(
        "PUT", "/internal/clients/acme/policy", {"policyId": "nowhere", "create": True}, key=ADMIN_KEY
    )
    assert (status, error["code"]) == (404, "policy_not_found")


async def test_same_grant_again_changes_nothing_even_at_once(start_metering: StartMetering) -> None:
    metering = await start_metering(processes=2)
    grant = {"grantId": "order-1", "credits": 100, "note": "first", "create": True}
    answers = await asyncio.gather(
        *(
            metering.call("POST", "/internal/clients/acme/grants", grant, key=ADMIN_KEY, process=number % 2)
            for number in range(10)
        )
    )
    assert len({str(answer) for answer in answers}) == 1
    assert await metering.balance("acme") == (100, 0, 0, 100)
    status, error = await metering.call(
        "POST", "/internal/clients/acme/grants", {**grant, "credits": 7}, key=ADMIN_KEY
    )
    assert (status, error["code"]) == (409, "reference_reused")
    assert await metering.balance("acme") == (100, 0, 0, 100)


async def test_adjustment_never_takes_available_below_zero(metering: Metering) -> None:
    await metering.give("acme", grant=10)
    await metering.authorize(event(), event())
    path = "/internal/clients/acme/adjustments"
    status, error = await metering.call(
        "POST", path, {"adjustmentId": "a", "credits": -9, "reason": "too much"}, key=ADMIN_KEY
    )
    assert (status, error["code"]) == (409, "insufficient_credits")
    line = await metering.admin("POST", path, {"adjustmentId": "b", "credits": -8, "reason": "just right"})
    assert (line["kind"], line["credits"], line["note"]) == ("adjust", -8, "just right")
    assert await metering.balance("acme") == (10, 0, 2, 0)


async def test_debt_of_a_late_charge_does_not_let_an_adjustment_through(metering: Metering) -> None:
    await metering.give("acme", grant=1)
    await metering.settle(event(), event(), event())
    assert await metering.balance("acme") == (1, 3, 0, -2)
    status, _ = await metering.call(
        "POST",
        "/internal/clients/acme/adjustments",
        {"adjustmentId": "a", "credits": -1, "reason": "none left"},
        key=ADMIN_KEY,
    )
    assert status == 409


async def test_ledger_holds_every_fact_oldest_first_in_pages(metering: Metering) -> None:
    await metering.give("acme", grant=10, prices={"plan_play.created": 2})
    attempts = [event(), event(), event(eventType="of-no-price")]
    await metering.authorize(*attempts)
    for attempt in attempts:
        await metering.settle(attempt)
    path = "/internal/clients/acme/ledger"
    page = await metering.admin("GET", f"{path}?limit=3")
    rest = await metering.admin("GET", f"{path}?limit=3&cursor={page['nextCursor']}")
    entries = page["entries"] + rest["entries"]
    assert [(entry["kind"], entry["credits"]) for entry in entries] == [
        ("grant", 10),
        ("spend", -2),
        ("spend", -2),
        ("spend", 0),
    ]
    assert [entry["eventId"] for entry in entries[1:]] == [attempt["eventId"] for attempt in attempts]
    # A position says nothing of a client: another one's ledger goes on from it with its own entries only.
    await metering.give("other")
    other = await metering.admin("GET", f"/internal/clients/other/ledger?cursor={page['nextCursor']}")
    assert other == {"entries": [], "nextCursor": None}


async def test_every_admin_change_is_audited_with_its_actor(metering: Metering) -> None:
    await metering.give("acme", grant=5)
    rows = await metering.fetch("SELECT actor, action, target FROM admin_audit ORDER BY audit_id")
    assert [tuple(row) for row in rows] == [
        ("ops", "put_policy", "of-acme"),
        ("ops", "assign_policy", "acme"),
        ("ops", "grant", "acme"),
    ]


READINGS = ["balance", "quota", "ledger", "usage", "refusals", "policy"]


async def test_nothing_is_told_of_a_client_never_heard_of(metering: Metering, subtests: pytest.Subtests) -> None:
    for what in READINGS:
        with subtests.test(what=what):
            await metering.authorize(event("held-only"))
            status, error = await metering.call("GET", f"/internal/clients/held-onyl/{what}", key=ADMIN_KEY)
            assert (status, error["code"]) == (404, "client_not_found")
            assert error["error"] == "Client held-onyl is not known; did you mean held-only?"
            # One event is enough to be known; asking was not.
            assert (await metering.call("GET", f"/internal/clients/held-only/{what}", key=ADMIN_KEY))[0] == 200
            assert len(await metering.fetch("SELECT FROM account")) == 1


async def test_the_quotas_of_a_new_client(metering: Metering) -> None:
    await metering.authorize(event("new"))
    assert await metering.admin("GET", "/internal/clients/new/quota") == {"clientId": "new", "quotas": []}
    await metering.give("new", quotas=[{"name": "daily", "limit": 3, "period": "day"}])
    assert await metering.admin("GET", "/internal/clients/new/quota") == {
        "clientId": "new",
        "quotas": [
            {
                "name": "daily",
                "limit": 3,
                "counts": "events",
                "period": "day",
                "anchor": "calendar",
                **ALL,
                "overage": 0,
                "startsAt": "2026-03-31T00:00:00Z",
                "resetsAt": "2026-04-01T00:00:00Z",
                "used": 0,
                "held": 0,
            }
        ],
    }


UNREADABLE = [
    b"{",
    b'{"grantId": "a", "credits": NaN}',
    b'{"grantId": "a\\u0000", "credits": 1}',
    b"[" * 20_000,
    b'"\\ud800"',
]


async def test_unreadable_bodies_are_refused_in_this_apis_shape(
    metering: Metering, subtests: pytest.Subtests
) -> None:
    for body in UNREADABLE:
        with subtests.test(body=body):
            async with metering.clients[0].post(
                "/internal/clients/acme/grants",
                data=body,
                headers={"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"},
            ) as response:
                assert response.status == 400
                assert set(await response.json()) == {"error", "code", "details"}
