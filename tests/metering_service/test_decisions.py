"""What was decided about a client's events is found by client and time, with its receipts."""

import asyncio
from typing import Any

import asyncpg
import orjson

from metering_service.events.event_store import EventStore
from metering_service.refusals.keep import EARLIEST, LATEST
from tests.metering_service.conftest import ADMIN_KEY, EVENTS_KEY, Metering, event
from tests.metering_service.movable_clock import MovableClock
from tests.operator_command import run_command

PATH = "/internal/clients/acme/decisions"


async def live_a_little(metering: Metering, clock: MovableClock) -> None:
    """Charge two plays a minute for three minutes and refuse as many, from 22:00 on; another client does the same."""
    quota = {"name": "few", "limit": 2, "counts": "units", "period": "hour", "eventTypes": ["plan_play.created"]}
    for client_id in ("acme", "other"):
        await metering.give(client_id, grant=100, quotas=[quota], prices={"plan_play.created": 1, "llm.tokens": 2})
    for minute in range(3):
        for client_id in ("acme", "other"):
            attempts = [event(client_id, eventType="llm.tokens", units=n + 1, userId="ann") for n in range(2)]
            await metering.authorize(*attempts)
            for attempt in attempts:  # one batch has no order
                await metering.settle_by_ids(attempt)
            await metering.authorize(event(client_id, units=3), event(client_id, units=4))
        clock.advance(minutes=1)
        async with asyncio.timeout(20):
            while sum(line["count"] for line in await read(metering, kind="refusal")) < 2 * (minute + 1):
                pass  # written once a second, and no event tells of it


async def read(metering: Metering, query: str = "", kind: str | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await metering.admin("GET", PATH + query))["decisions"]
    return [line for line in found if kind in (None, line["kind"])]


def told(lines: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    return [(line["at"][11:16], line["kind"], line.get("units") or line["count"]) for line in lines]


MINUTES = [
    [("22:02", "charge", 2), ("22:02", "charge", 1), ("22:02", "refusal", 2)],
    [("22:01", "charge", 2), ("22:01", "charge", 1), ("22:01", "refusal", 2)],
    [("22:00", "charge", 2), ("22:00", "charge", 1), ("22:00", "refusal", 2)],
]


async def test_charges_and_refusals_are_listed_newest_first_with_their_receipts(
    metering: Metering, clock: MovableClock
) -> None:
    await live_a_little(metering, clock)
    lines = await read(metering)
    assert told(lines) == [line for minute in MINUTES for line in minute]
    charge, refusal = lines[0], lines[2]
    assert (charge["credits"], charge["userId"], charge["late"]) == (4, "ann", False)
    state = await metering.admin("GET", f"/internal/events/{charge['eventId']}?clientId=acme")
    assert {name: state["receipt"][name] for name in charge["receipt"]} == charge["receipt"]
    assert (refusal["code"], refusal["limit"], refusal["userId"]) == ("api_quota_exceeded", "few", None)
    [kept, *_] = (await metering.admin("GET", "/internal/clients/acme/refusals"))["refusals"]
    assert (refusal["receipt"], refusal["firstReceipt"]) == (kept["lastReceipt"], kept["firstReceipt"])
    assert [refusal[name]["gates"]["quotas"][0]["amount"] for name in ("firstReceipt", "receipt")] == [3, 4]


async def test_decisions_are_found_between_two_moments(metering: Metering, clock: MovableClock) -> None:
    await live_a_little(metering, clock)
    assert told(await read(metering, "?from=2026-03-31T22:01:00Z&to=2026-03-31T22:02:00Z")) == MINUTES[1]
    assert told(await read(metering, "?from=2026-03-31T22:01:30Z")) == [*MINUTES[0], MINUTES[1][2]]
    assert await read(metering, "?to=2026-03-31T22:00:00Z") == []
    minute = ("--from", "2026-03-31T22:01Z", "--to", "2026-03-31T22:02Z", "--json")
    done = await run_command("metering", metering.dsn, "decisions", "acme", *minute)
    assert told(orjson.loads(done.output)) == MINUTES[1], done.trace
    done = await run_command("metering", metering.dsn, "decisions", "acmee")
    assert (done.code, "did you mean acme?" in done.trace) == (1, True)


async def test_pages_of_decisions_hold_each_line_once(metering: Metering, clock: MovableClock) -> None:
    await live_a_little(metering, clock)
    lines = await read(metering)
    for limit in (1, 2, 4, 8, 9):
        found: list[dict[str, Any]] = []
        path: str | None = f"{PATH}?limit={limit}"
        while path:
            page = await metering.admin("GET", path)
            assert len(page["decisions"]) <= limit
            found += page["decisions"]
            path = page["nextCursor"] and f"{PATH}?limit={limit}&cursor={page['nextCursor']}"
        assert found == lines


async def test_an_erased_users_decisions_are_nobodys(metering: Metering, clock: MovableClock) -> None:
    await live_a_little(metering, clock)
    who = ("--client", "acme", "--user", "ann", "--yes")
    assert (await run_command("metering", metering.dsn, "users", "erase", *who)).code == 0
    assert {line["userId"] for line in await read(metering)} == {None}


async def test_who_bills_events_may_read_decisions_and_wrong_questions_are_named(metering: Metering) -> None:
    assert await metering.call("GET", PATH, key=EVENTS_KEY) == (200, {"decisions": [], "nextCursor": None})
    for query, field in (("from=yesterday", "from"), ("cursor=x", "cursor"), ("user=ann", "user")):
        status, error = await metering.call("GET", f"{PATH}?{query}", key=ADMIN_KEY)
        assert (status, [detail["field"] for detail in error["details"]]) == (400, [field])


async def test_a_page_of_charges_reads_an_index_in_its_order(metering: Metering) -> None:
    connection = await asyncpg.connect(metering.dsn)
    await connection.execute("SET enable_seqscan = off")
    plan = "\n".join(
        line
        for (line,) in await connection.fetch(
            f"EXPLAIN {EventStore._LIST_CHARGES}", "acme", EARLIEST, LATEST, LATEST, 0, 10
        )
    )
    await connection.close()
    assert "Index Scan Backward using ledger_entry_by_time" in plan
    assert "Sort" not in plan
