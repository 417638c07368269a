"""Several limits at once: what they count, of whom and when; prices, overdraft, and asking without taking."""

from typing import Any

from tests.metering_service.conftest import EVENTS_KEY, Metering, event
from tests.metering_service.movable_clock import MovableClock
from tests.operator_command import run_command

TOKENS: dict[str, Any] = {"eventType": "llm.tokens"}
PRICES = {"plan_play.created": 1, "llm.tokens": 2}


def quota(name: str = "q", limit: int = 10, period: str = "month", **terms: Any) -> dict[str, Any]:
    return {"name": name, "limit": limit, "period": period, **terms}


async def decide(metering: Metering, *events: dict[str, Any]) -> list[str | None]:
    """Return the code of each decision, None where it was granted."""
    return [decision.get("code") for decision in await metering.authorize(*events)]


async def uses(metering: Metering, client_id: str = "acme", user: str | None = None) -> dict[str, tuple[int, int]]:
    query = f"?userId={user}" if user else ""
    found = await metering.admin("GET", f"/internal/clients/{client_id}/quota{query}")
    return {each["name"]: (each["used"], each["held"]) for each in found["quotas"]}


async def test_a_quota_counts_events_units_or_credits_of_its_types(metering: Metering) -> None:
    await metering.give(
        "acme",
        grant=1000,
        prices=PRICES,
        quotas=[
            quota("events", 3),
            quota("tokens", 250, counts="units", eventTypes=["llm.tokens"]),
            quota("spend", 500, counts="credits", period="day"),
        ],
    )
    attempt = event(**TOKENS, units=200)
    assert await decide(metering, attempt) == [None]
    assert await uses(metering) == {"events": (0, 1), "tokens": (0, 200), "spend": (0, 400)}
    assert await decide(metering, event(**TOKENS, units=51)) == ["api_quota_exceeded"]  # 251 tokens
    assert await decide(metering, event(**TOKENS, units=50), event()) == [None, "api_quota_exceeded"]  # 501 credits
    [result] = await metering.settle_by_ids(attempt, units=120)
    assert (result["state"], result["credits"]) == ("settled", 240)
    assert await uses(metering) == {"events": (1, 1), "tokens": (120, 50), "spend": (240, 100)}
    assert await decide(metering, event(), event()) == [None, "api_quota_exceeded"]  # the fourth event


async def test_a_quota_per_user_is_each_users_own_and_events_without_one_share_one(metering: Metering) -> None:
    await metering.give("acme", quotas=[quota("each", 2, per="user")], credits="unlimited")
    ann, bob = {"userId": "ann"}, {"userId": "bob"}
    assert await decide(metering, *(event(**who) for who in (ann, ann, ann, bob, {}, {}, {}))) == [
        *(None, None, "api_quota_exceeded", None),
        *(None, None, "api_quota_exceeded"),
    ]
    assert await uses(metering, user="ann") == {"each": (0, 2)}
    assert await uses(metering) == {}


async def test_overage_passes_up_to_its_end_and_is_told_of_each_event(metering: Metering) -> None:
    await metering.give(
        "acme",
        credits="unlimited",
        quotas=[quota(limit=10, counts="units", overage=5), quota("any", 1, overage="unlimited")],
    )
    first, second = event(units=8), event(units=6)
    receipts = [decision["receipt"] for decision in await metering.authorize(first, second)]
    told = [{each["name"]: each["overage"] for each in receipt["gates"]["quotas"]} for receipt in receipts]
    assert told == [{"q": 0, "any": 0}, {"q": 4, "any": 1}]
    assert await decide(metering, event(units=2)) == ["api_quota_exceeded"]
    # What did not happen goes off the overage first.
    await metering.settle_by_ids(second, units=3)
    _, found = await metering.call("GET", f"/internal/events/{second['eventId']}?clientId=acme")
    assert {each["name"]: each["overage"] for each in found["receipt"]["gates"]["quotas"]} == {"q": 1, "any": 1}
    [row] = await metering.fetch("SELECT units, overage FROM usage")
    assert tuple(row) == (3, 2)


async def test_the_wait_is_until_all_quotas_would_let_it_pass_and_none_where_one_never_will(
    metering: Metering, clock: MovableClock
) -> None:
    await metering.give(
        "acme", credits="unlimited", quotas=[quota("hourly", 1, "hour"), quota("daily", 2, "day", counts="units")]
    )
    await metering.settle(event(units=2))
    [decision] = await metering.authorize(event())
    assert decision["retryAfterSeconds"] == 7200  # the day's end; the hour's alone is not enough
    clock.advance(seconds=7200)
    assert await decide(metering, event(units=2)) == [None]
    [decision] = await metering.authorize(event(units=3))
    assert (decision["code"], decision["retryAfterSeconds"]) == ("api_quota_exceeded", None)


async def test_periods_counted_from_the_assignment_go_on_across_policies_unless_they_are_reset(
    metering: Metering, clock: MovableClock
) -> None:
    terms: dict[str, Any] = {"credits": "unlimited", "quotas": [quota("monthly", 5, anchor="assigned")]}
    await metering.give("acme", **terms)  # at 22:00 on the 31st of March
    attempt = event()
    await metering.authorize(attempt)
    await metering.settle_by_ids(attempt)
    clock.advance(days=29)
    path = "/internal/clients/acme"
    [state] = (await metering.admin("GET", f"{path}/quota"))["quotas"]
    assert (state["startsAt"], state["resetsAt"]) == ("2026-03-31T22:00:00Z", "2026-04-30T22:00:00Z")
    await metering.admin("PUT", "/internal/policies/other", {"prices": {"*": 0}, **terms})
    await metering.admin("PUT", f"{path}/policy", {"policyId": "other"})
    [state] = (await metering.admin("GET", f"{path}/quota"))["quotas"]
    assert (state["startsAt"], state["used"]) == ("2026-03-31T22:00:00Z", 1)
    clock.advance(days=2)
    [state] = (await metering.admin("GET", f"{path}/quota"))["quotas"]
    assert (state["startsAt"], state["resetsAt"], state["used"]) == (
        "2026-04-30T22:00:00Z",
        "2026-05-31T22:00:00Z",
        0,
    )
    await metering.admin("PUT", f"{path}/policy", {"policyId": "other", "resetPeriods": True})
    [state] = (await metering.admin("GET", f"{path}/quota"))["quotas"]
    assert state["startsAt"] == "2026-05-01T22:00:00Z"


async def test_a_type_without_a_price_is_not_sold_and_a_late_charge_of_it_costs_nothing(metering: Metering) -> None:
    await metering.give("acme", grant=10, prices={"plan_play.created": 1})
    decisions = await metering.authorize(event(**TOKENS), event())
    assert [decision.get("code") for decision in decisions] == ["event_type_not_sold", None]
    assert decisions[0]["receipt"]["policyId"] == "of-acme"
    assert decisions[0]["retryAfterSeconds"] is None
    [result] = await metering.settle(event(**TOKENS, units=3))
    assert (result["state"], result["credits"], result["late"]) == ("settled", 0, True)
    await metering.give("acme", prices={"plan_play.created": 1}, mode="shadow")
    [decision] = await metering.authorize(event(**TOKENS))
    assert (decision["decision"], decision["receipt"]["wouldRefuse"]) == ("granted", "event_type_not_sold")


async def test_an_overdraft_goes_down_to_its_end_and_no_further(metering: Metering) -> None:
    await metering.give("acme", grant=2, credits={"overdraft": 3})
    attempts = [event() for _ in range(6)]
    assert await decide(metering, *attempts) == [None] * 5 + ["api_balance_exhausted"]
    await metering.settle_by_ids(*attempts[:5])
    assert await metering.balance("acme") == (2, 5, 0, -3)
    await metering.give("acme", credits="prepaid")
    assert await decide(metering, event()) == ["api_balance_exhausted"]
    await metering.give("acme", grant=4, credits="prepaid")
    assert await decide(metering, event(), event()) == [None, "api_balance_exhausted"]


async def test_what_is_left_of_each_limit_is_told_granted_or_denied(metering: Metering) -> None:
    rate = {"name": "rate", "limit": 2, "periodSeconds": 60, "burst": 3}
    await metering.give("acme", credits="unlimited", rates=[rate], quotas=[quota("daily", 2, "day")])
    decisions = await metering.authorize(event(), event(), event())
    assert [decision["limits"] for decision in decisions] == [
        [
            {"name": "rate", "limit": 3, "remaining": rates_left, "resetSeconds": full_in},
            {"name": "daily", "limit": 2, "remaining": left, "resetSeconds": 7200},
        ]
        for rates_left, full_in, left in ((2, 30, 1), (1, 60, 0), (1, 60, 0))
    ]


async def test_asking_takes_nothing_and_decides_as_the_real_call_would(metering: Metering) -> None:
    rate = {"name": "rate", "limit": 1, "periodSeconds": 60, "burst": 2}
    await metering.give("acme", grant=3, rates=[rate], quotas=[quota(limit=5, counts="units")])
    held = event()
    await metering.authorize(held)
    asked = [event(units=2), event(), event(), held]
    for _ in range(2):
        status, document = await metering.call(
            "POST", "/internal/events/authorize", {"events": asked, "dryRun": True}
        )
        assert status == 200
        decisions = document["decisions"]
        assert [decision.get("code") for decision in decisions] == [
            None,
            "api_rate_limited",
            "api_rate_limited",
            None,
        ]
        assert all("state" not in decision for decision in decisions)
        assert decisions[0]["limits"][1]["remaining"] == 2
    assert await metering.balance("acme") == (3, 0, 1, 2)
    assert len(await metering.fetch("SELECT FROM hold")) == 1
    status, document = await metering.call(
        "POST", "/internal/events/authorize", {"events": [event("new")], "dryRun": True}
    )
    assert document["decisions"][0]["decision"] == "granted"
    assert await metering.fetch("SELECT FROM account WHERE client_id = 'new'") == []
    assert (await metering.call("POST", "/internal/events/authorize", {"events": asked, "dryRun": "yes"}))[0] == 400


async def test_a_mistyped_price_is_warned_of(metering: Metering) -> None:
    await metering.settle(event())
    put = await metering.admin("PUT", "/internal/policies/x", {"prices": {"plan_play.create": 1}})
    assert put["warnings"] == ["plan_play.create: never charged so far, did you mean plan_play.created?"]


async def test_a_late_fact_counts_in_its_own_day_and_only_in_a_quota_that_still_runs(
    metering: Metering, clock: MovableClock
) -> None:
    await metering.give("acme", credits="unlimited", quotas=[quota("monthly", 9), quota("daily", 9, "day")])
    clock.advance(days=3)
    status, _ = await metering.call(
        "POST",
        "/internal/events/settle",
        {
            "events": [
                {**event(), "happenedAt": moment} for moment in ("2026-04-02T10:00:00Z", "2026-03-30T10:00:00Z")
            ]
        },
        key=EVENTS_KEY,
    )
    assert status == 200
    assert await uses(metering) == {"monthly": (1, 0), "daily": (0, 0)}
    rows = await metering.fetch("SELECT day::text, charged FROM usage ORDER BY day")
    assert [tuple(row) for row in rows] == [("2026-03-30", 1), ("2026-04-02", 1)]


async def test_an_erased_users_counter_is_nobodys_and_the_sums_stay(metering: Metering) -> None:
    await metering.give("acme", credits="unlimited", quotas=[quota("each", 2, per="user")])
    attempts = [event(userId="ann"), event(userId="ann")]
    await metering.authorize(*attempts)
    assert await uses(metering, user="ann") == {"each": (0, 2)}
    who = ("--client", "acme", "--user", "ann", "--yes")
    assert (await run_command("metering", metering.dsn, "users", "erase", *who)).code == 0
    assert await uses(metering, user="ann") == {"each": (0, 0)}
    await metering.settle_by_ids(*attempts)
    rows = await metering.fetch("SELECT user_id, used, held FROM counter")
    assert [tuple(row) for row in rows] == [("", 2, 0)]
    assert (await run_command("metering", metering.dsn, "audit")).code == 0


async def test_what_was_not_held_is_above_those_limits_alone_that_it_goes_beyond(metering: Metering) -> None:
    quotas = [
        quota(limit=5, counts="units", overage="unlimited"),
        quota("wide", 1000, counts="units"),
        quota("far", 10, counts="units", overage="unlimited"),
    ]
    await metering.give("acme", credits="unlimited", quotas=quotas)
    for held, units, above in ((8, 20, {"q": 15, "wide": 0, "far": 10}), (1, 3, {"q": 3, "wide": 0, "far": 3})):
        attempt = event(units=held)
        await metering.authorize(attempt)
        await metering.settle_by_ids(attempt, units=units)
        _, found = await metering.call("GET", f"/internal/events/{attempt['eventId']}?clientId=acme")
        assert {each["name"]: each["overage"] for each in found["receipt"]["gates"]["quotas"]} == above
    [row] = await metering.fetch("SELECT units, overage FROM usage")
    assert tuple(row) == (23, 31)
