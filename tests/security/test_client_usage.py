"""What a client is shown of its usage is its own, whole, and what metering has."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.security.house import KEYS, House

SUMMARY, EVENTS = (f"/api/client/client-a/api-usage/{name}" for name in ("summary", "events"))
MONTH = f"{datetime.now(UTC):%Y-%m}"
POLICY = {
    "rates": [],
    "quotas": [{"name": "monthly plays", "limit": 3, "period": "month", "eventTypes": ["plan_play.created"]}],
    "prices": {"plan_play.created": 2, "plan_play.completed": 0},
    "credits": "prepaid",
}


async def ask(house: House, path: str, client: str = "client-a", user: str | None = None) -> tuple[int, Any]:
    return await house.call("activity", "GET", path, bearer=await house.token(client, user))


async def wait_for(house: House, requests: int) -> dict[str, Any]:
    """Return the summary once it has so many requests: charges are settled, and refusals written, a little later."""
    async with asyncio.timeout(20):
        while True:
            status, answer = await ask(house, f"{SUMMARY}?month={MONTH}")
            assert status == 200, answer
            data: dict[str, Any] = answer["data"]
            if data["totals"]["totalRequests"] == requests:
                return data


async def live_a_little(house: House) -> dict[str, Any]:
    """Beside the play that is there, which was free, create two plays, complete one, and have two refused."""
    await wait_for(house, 1)
    admin = KEYS["admin"]
    for path, body in (
        ("/internal/policies/paid", POLICY),
        ("/internal/clients/client-a/policy", {"policyId": "paid"}),
    ):
        assert (await house.call("metering", "PUT", path, bearer=admin, body=body))[0] == 200
    grant = {"grantId": "g", "credits": 10}
    assert (await house.call("metering", "POST", "/internal/clients/client-a/grants", bearer=admin, body=grant))[
        0
    ] == 200
    token = await house.token()
    statuses = []
    for number in range(5):
        body = {"planId": "p", "userId": f"user-{number}"}
        status, answer = await house.call("activity", "POST", "/api/plan-plays", bearer=token, body=body)
        statuses.append(status)
        if number == 0:
            path = f"/api/plan-plays/{answer['data']['id']}"
            done, _ = await house.call("activity", "PATCH", path, bearer=token, body={"status": "ended"})
            assert done == 200
    assert statuses == [201, 201, 201, 429, 429]
    return await wait_for(house, 1 + 3 + 1 + 2)


async def test_a_client_sees_its_month_in_sums(house: House) -> None:
    data = await live_a_little(house)
    assert data.keys() == {"clientId", "monthKey", "totals", "routes", "quotas", "balance"}
    assert (data["clientId"], data["monthKey"]) == ("client-a", MONTH)
    assert data["totals"] == {
        "totalRequests": 7,
        "successfulRequests": 5,
        "failedRequests": 2,
        "totalCreditsConsumed": 6,
    }
    created, completed = data["routes"]
    assert created.pop("lastRequestAt").startswith(MONTH)
    assert created == {
        "routeKey": "plan_play.created",
        "method": "POST",
        "pathPattern": "/api/plan-plays",
        "chargeMode": "billable",
        "defaultCreditCost": 2,
        "totalRequests": 6,
        "successfulRequests": 4,
        "failedRequests": 2,
        "totalCreditsConsumed": 6,
    }
    assert (completed["method"], completed["pathPattern"]) == ("PATCH", "/api/plan-plays/{id}")
    assert (completed["chargeMode"], completed["defaultCreditCost"], completed["totalRequests"]) == ("free", 0, 1)
    [quota] = data["quotas"]
    assert quota.keys() == {"name", "limit", "used", "resetsAt"}
    assert (quota["name"], quota["limit"], quota["used"]) == ("monthly plays", 3, 3)
    assert data["balance"] == {"available": 4, "held": 0, "expiringNext": None}
    # Another month, and without one the present.
    _, answer = await ask(house, f"{SUMMARY}?month=2020-02")
    assert (answer["data"]["monthKey"], answer["data"]["totals"]["totalRequests"]) == ("2020-02", 0)
    assert [route["lastRequestAt"] for route in answer["data"]["routes"]] == [None, None]
    assert (await ask(house, SUMMARY))[1]["data"]["totals"] == data["totals"]


async def test_a_client_without_prices_has_no_balance(house: House) -> None:
    data = await wait_for(house, 1)
    assert data["balance"] is None
    assert {route["chargeMode"] for route in data["routes"]} == {"free"}


async def test_a_client_sees_its_charges_and_refusals_page_by_page_with_their_receipts(house: House) -> None:
    await live_a_little(house)
    _, whole = await ask(house, f"{EVENTS}?month={MONTH}")
    assert whole["count"] == len(whole["data"])
    assert sum(entry.get("count", 1) for entry in whole["data"]) == 7
    _, metered = await house.call("metering", "GET", "/internal/clients/client-a/decisions", bearer=KEYS["admin"])
    assert whole["data"] == metered["decisions"]
    assert {entry["receipt"]["policyId"] for entry in whole["data"]} == {"free", "paid"}
    found: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        status, page = await ask(house, f"{EVENTS}?month={MONTH}&limit=2" + (f"&cursor={cursor}" if cursor else ""))
        assert (status, page["count"] <= 2) == (200, True)
        found += page["data"]
        cursor = page["nextCursor"]
    assert found == whole["data"]
    assert (await ask(house, f"{EVENTS}?month=2020-02"))[1] == {"data": [], "count": 0, "nextCursor": None}


@pytest.mark.parametrize("path", [SUMMARY, EVENTS])
async def test_usage_is_for_the_client_itself_only(house: House, path: str) -> None:
    forbidden = (403, {"error": "Access denied"})
    assert await ask(house, path, "client-b") == forbidden
    assert await ask(house, f"{path}?month=nonsense", "client-b") == forbidden
    assert await ask(house, path, "client-a", "user-1") == forbidden
    everybody = await house.token("client-b", scope="plan_plays plan_plays:all_clients")
    assert await house.call("activity", "GET", path, bearer=everybody) == forbidden


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *((f"month={month}", "month") for month in ("2026-13", "2026-00", "2026-1", "2026-01-01", "26-01", "", "x")),
        ("month=2026-01&month=2026-02", "month"),
        ("moth=2026-01", "moth"),
        ("clientId=client-b", "clientId"),
    ],
)
async def test_a_wrong_month_or_parameter_is_400_and_named(house: House, query: str, field: str) -> None:
    for path in (SUMMARY, EVENTS):
        status, error = await ask(house, f"{path}?{query}")
        assert (status, [detail["field"] for detail in error["details"]]) == (400, [field]), error


async def test_a_wrong_page_is_400_and_named(house: House) -> None:
    for query, field in (("limit=0", "limit"), ("limit=201", "limit"), ("cursor=x", "cursor"), ("cursor=", "cursor")):
        status, error = await ask(house, f"{EVENTS}?{query}")
        assert (status, [detail["field"] for detail in error["details"]]) == (400, [field]), error


async def test_without_metering_usage_is_503_and_nothing_else_is(house: House) -> None:
    await house.servers["metering"].close()
    for path in (SUMMARY, EVENTS):
        assert await ask(house, path) == (503, {"error": "Usage cannot be read at the moment"})
    assert (await ask(house, "/api/plan-plays"))[0] == 200
