"""Usage equals the ledger and the refusals, by type, by user and by day; one client is shown as one thing."""

import asyncio
import csv
import io
from datetime import timedelta
from typing import Any

import asyncpg
import orjson
import pytest

from metering_service.refusals.store import RefusalStore
from metering_service.retention.forget import forget
from tests.metering_service.conftest import ADMIN_KEY, Metering, StartMetering, event
from tests.metering_service.movable_clock import MovableClock
from tests.operator_command import run_command

PRICES = {"plan_play.created": 1, "llm.tokens": 2}
PATH = "/internal/clients/acme/usage"


async def charge(metering: Metering, *events: dict[str, object]) -> None:
    await metering.authorize(*events)
    await metering.settle_by_ids(*events)


async def live_a_little(metering: Metering, clock: MovableClock) -> None:
    """Charge plays and tokens, for two users and nobody, over the end of a month."""
    await metering.give("acme", grant=1000, prices=PRICES)
    await charge(metering, event(userId="ann"), event(userId="ann"), event())
    await charge(metering, event(eventType="llm.tokens", units=30, userId="bob"))
    clock.advance(days=1)
    await charge(metering, event(userId="ann"))


async def test_usage_is_the_sum_of_the_charges_by_day_and_type(metering: Metering, clock: MovableClock) -> None:
    await live_a_little(metering, clock)
    found = await metering.admin("GET", f"{PATH}?from=2026-03-01&to=2026-05-01")
    assert (found["from"], found["to"], found["final"]) == ("2026-03-01", "2026-05-01", False)
    rows = [tuple(each.values())[:6] for each in found["usage"]]
    assert rows == [
        ("2026-03-31", "llm.tokens", 1, 30, 60, 0),
        ("2026-03-31", "plan_play.created", 3, 3, 3, 0),
        ("2026-04-01", "plan_play.created", 1, 1, 1, 0),
    ]
    ledger = await metering.spends("acme")
    assert sum(row[4] for row in rows) == -sum(entry["credits"] for entry in ledger)
    months = await metering.admin("GET", f"{PATH}?from=2026-03-01&to=2026-05-01&window=month")
    assert [each["window"] for each in months["usage"]] == ["2026-03-01", "2026-03-01", "2026-04-01"]
    # Without days: this month.
    assert len((await metering.admin("GET", PATH))["usage"]) == 1


async def read_refused(metering: Metering, expected: int, query: str) -> dict[str, Any]:
    """Return the usage once it says that so many were refused: refusals are written once a second."""
    async with asyncio.timeout(20):
        while True:
            found: dict[str, Any] = await metering.admin("GET", f"{PATH}?{query}")
            if sum(sum(each["refused"].values()) for each in found["usage"]) == expected:
                return found
            await asyncio.sleep(0.05)  # no event tells of it


async def test_usage_says_how_many_were_refused_by_code_day_and_type_for_ever(
    start_metering: StartMetering, clock: MovableClock
) -> None:
    metering = await start_metering(processes=2)
    quota = {"name": "daily", "limit": 2, "period": "day", "eventTypes": ["plan_play.created"]}
    await metering.give("acme", grant=10, prices={"plan_play.created": 1, "llm.tokens": 20}, quotas=[quota])
    await charge(metering, event(), event())
    await metering.authorize(*(event() for _ in range(3)), event(eventType="llm.tokens"))
    await metering.authorize(event(), event(eventType="unsold"), process=1)
    clock.advance(days=1)
    await metering.authorize(event(), event(), event(eventType="llm.tokens"))
    days, months = "from=2026-03-01&to=2026-05-01", "from=2026-03-01&to=2026-05-01&window=month"

    found = await read_refused(metering, 7, days)
    assert [(each["window"], each["eventType"], each["charged"], each["refused"]) for each in found["usage"]] == [
        ("2026-03-31", "llm.tokens", 0, {"api_balance_exhausted": 1}),
        ("2026-03-31", "plan_play.created", 2, {"api_quota_exceeded": 4}),
        ("2026-03-31", "unsold", 0, {"event_type_not_sold": 1}),
        ("2026-04-01", "llm.tokens", 0, {"api_balance_exhausted": 1}),
    ]
    assert [each["lastAt"] for each in found["usage"]] == ["2026-03-31T22:00:00Z"] * 3 + ["2026-04-01T22:00:00Z"]
    by_month = await metering.admin("GET", f"{PATH}?{months}")
    assert [each["refused"] for each in by_month["usage"]] == [each["refused"] for each in found["usage"]]

    # The refusals themselves are forgotten after 35 days, their sums are not.
    clock.advance(days=36)
    async with asyncpg.create_pool(metering.dsn, min_size=1, max_size=1) as pool:
        await forget(RefusalStore(pool).delete_old, timedelta(days=35))
    assert (await metering.admin("GET", "/internal/clients/acme/refusals"))["refusals"] == []
    assert (await metering.admin("GET", f"{PATH}?{days}"))["usage"] == found["usage"]


async def test_refusals_of_one_day_are_one_sum_over_its_minutes(metering: Metering, clock: MovableClock) -> None:
    await metering.give("acme")
    for minute in range(3):
        await metering.authorize(event(), event(userId="ann"))
        await read_refused(metering, 2 * (minute + 1), "from=2026-03-01")
        clock.advance(minutes=1)
    [each] = (await metering.admin("GET", f"{PATH}?from=2026-03-01"))["usage"]
    assert (each["refused"], each["lastAt"]) == ({"api_balance_exhausted": 6}, "2026-03-31T22:02:00Z")
    done = await run_command("metering", metering.dsn, "usage", "acme", "--from", "2026-03-01")
    assert "api_balance_exhausted 6" in done.output


async def test_usage_by_user_tells_those_who_are_there(metering: Metering, clock: MovableClock) -> None:
    await live_a_little(metering, clock)
    path = f"{PATH}?from=2026-03-01&to=2026-04-01&window=month&groupBy=user"
    found = await metering.admin("GET", path)
    assert [(each["userId"], each["charged"], each["credits"]) for each in found["usage"]] == [
        ("ann", 2, 2),
        ("bob", 1, 60),
        (None, 1, 1),
    ]
    who = ("--client", "acme", "--user", "bob", "--yes")
    assert (await run_command("metering", metering.dsn, "users", "erase", *who)).code == 0
    found = await metering.admin("GET", path)
    assert [each["userId"] for each in found["usage"]] == ["ann", None]


async def test_a_month_is_final_once_it_is_over_and_nothing_of_it_is_held(
    metering: Metering, clock: MovableClock
) -> None:
    await metering.give("acme", grant=10)
    held = event()
    await metering.authorize(held)
    path = f"{PATH}?from=2026-03-01&to=2026-04-01"
    assert (await metering.admin("GET", path))["final"] is False
    clock.advance(days=31)
    assert (await metering.admin("GET", path))["final"] is False
    # Of the next month nothing is held.
    assert (await metering.admin("GET", f"{PATH}?from=2026-04-01&to=2026-05-01"))["final"] is True
    await metering.settle_by_ids(held)
    assert (await metering.admin("GET", path))["final"] is True


WRONG = [
    ("from=2026-02-30", "from"),
    ("from=20260201", "from"),
    ("from=0001-01-01", "from"),
    ("from=2026-03-02&to=2026-03-02", "to"),
    ("from=2020-01-01&to=2026-03-02", "to"),
    ("window=year", "window"),
    ("groupBy=plan", "groupBy"),
]


async def test_what_cannot_be_summed_up_names_the_parameter(metering: Metering, subtests: pytest.Subtests) -> None:
    for query, field in WRONG:
        with subtests.test(query=query, field=field):
            await metering.give("acme")
            status, error = await metering.call("GET", f"{PATH}?{query}", key=ADMIN_KEY)
            assert (status, [detail["field"] for detail in error["details"]]) == (400, [field])


async def test_usage_can_be_asked_for_at_the_calendars_end(metering: Metering) -> None:
    await metering.give("acme")
    assert (await metering.admin("GET", f"{PATH}?from=9998-12-31"))["to"] == "9999-01-01"
    assert (await metering.admin("GET", f"{PATH}?to=9998-12-31"))["from"] == "9998-12-01"
    assert (await metering.admin("GET", "/internal/clients/acme/summary?month=9998-12"))["usage"] == []


async def test_one_client_is_shown_as_one_thing(metering: Metering, clock: MovableClock) -> None:
    await live_a_little(metering, clock)
    await metering.admin("PUT", "/internal/policies/later", {"prices": {"*": 0}})
    booking = {"policyId": "later", "from": "2026-05-01T00:00:00Z"}
    await metering.admin("PUT", "/internal/clients/acme/policy", booking)
    done = await run_command("metering", metering.dsn, "client", "acme", "--json")
    assert done.code == 0, done.trace
    shown = orjson.loads(done.output)
    assert (shown["policy"]["policyId"], shown["policy"]["booked"][0]["policyId"]) == ("of-acme", "later")
    assert shown["balance"]["spent"] == 64
    assert [each["eventType"] for each in shown["usage"]] == ["plan_play.created"]
    assert len(shown["lastEntries"]) == 5
    done = await run_command("metering", metering.dsn, "client", "acme")
    assert done.code == 0
    assert all(word in done.output for word in ("of-acme", "later", "balance", "lastEntries"))
    done = await run_command("metering", metering.dsn, "client", "acmee")
    assert (done.code, "did you mean acme?" in done.trace) == (1, True)
    done = await run_command("metering", metering.dsn, "usage", "acme", "--from", "2026-03-01", "--by-user", "--json")
    assert [each["userId"] for each in orjson.loads(done.output)] == ["ann", "bob", None, "ann"]


async def test_ledger_and_usage_are_exported_whole_as_csv_and_as_json_lines(
    metering: Metering, clock: MovableClock
) -> None:
    await live_a_little(metering, clock)
    body = {"adjustmentId": "a", "credits": 5, "reason": 'said "sorry",\nwith a line'}
    await metering.admin("POST", "/internal/clients/acme/adjustments", body)
    ledger = (await metering.admin("GET", "/internal/clients/acme/ledger"))["entries"]

    async def export(*arguments: str) -> str:
        done = await run_command("metering", metering.dsn, "export", *arguments)
        assert done.code == 0, done.trace
        assert "lines, all there are" in done.trace
        return done.output

    lines = [orjson.loads(line) for line in (await export("ledger", "acme", "--format", "ndjson")).splitlines()]
    assert [line["entryId"] for line in lines] == [entry["entryId"] for entry in ledger]
    rows = list(csv.DictReader(io.StringIO(await export("ledger", "acme"), newline="")))
    assert [int(row["credits"]) for row in rows] == [entry["credits"] for entry in ledger]
    assert rows[-1]["note"] == body["reason"]
    told = sorted((row["day"], row["userId"], row["units"]) for row in rows if row["kind"] == "spend")
    assert told == [
        ("2026-03-31", "", "1"),
        ("2026-03-31", "ann", "1"),
        ("2026-03-31", "ann", "1"),
        ("2026-03-31", "bob", "30"),
        ("2026-04-01", "ann", "1"),
    ]
    rows = list(csv.DictReader(io.StringIO(await export("usage", "acme", "--from", "2026-03-01"))))
    assert [(row["window"], row["eventType"], row["credits"]) for row in rows] == [
        ("2026-03-31", "llm.tokens", "60"),
        ("2026-03-31", "plan_play.created", "3"),
        ("2026-04-01", "plan_play.created", "1"),
    ]
    assert (await run_command("metering", metering.dsn, "export", "ledger", "nobody")).code == 1
