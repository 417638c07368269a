"""Why a customer was refused at 14:03 has an answer, and a flood of refusals leaves few rows."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from metering_service.events.decision import Decision, Receipt
from metering_service.events.event import BillableEvent
from metering_service.policies.policy import Policy, Quota, Rate
from metering_service.refusals.refusal import NAMED_USERS, RefusalLog, list_first
from tests.metering_service.conftest import ADMIN_KEY, Metering, StartMetering, event
from tests.metering_service.movable_clock import MovableClock
from tests.operator_command import run_command

PATH = "/internal/clients/acme/refusals"
Line = tuple[str, str, str | None, str | None, int]


async def read(metering: Metering, expected: int, query: str = "") -> list[dict[str, Any]]:
    """Return what is kept, once it says that so many were refused: it is written once a second."""
    async with asyncio.timeout(20):
        while True:
            found: list[dict[str, Any]] = (await metering.admin("GET", PATH + query))["refusals"]
            if sum(line["count"] for line in found) == expected:
                return found
            await asyncio.sleep(0.05)  # no event tells of it


def told(lines: list[dict[str, Any]]) -> list[Line]:
    return [(line["minute"][11:16], line["code"], line["limit"], line["userId"], line["count"]) for line in lines]


async def refuse_some(metering: Metering, clock: MovableClock) -> None:
    """Have ann refused twice for her rate, and a minute later two for credits and one for the quota."""
    rate = {"name": "each", "limit": 1, "periodSeconds": 60, "burst": 1, "per": "user"}
    quotas = [{"name": "daily", "limit": 2, "period": "day", "overage": 1}]
    await metering.give("acme", grant=2, rates=[rate], quotas=quotas)
    for user in ("ann", "ann", "ann", "bob"):
        await metering.authorize(event(userId=user))
    clock.advance(minutes=1)
    await metering.authorize(event(userId="eve"), event(userId="zoe"), event(eventType="other"))
    await metering.authorize(event(userId="kim", eventType="other"))


async def test_refusals_are_kept_by_minute_limit_and_user_with_their_receipts(
    metering: Metering, clock: MovableClock
) -> None:
    await refuse_some(metering, clock)
    lines = await read(metering, 5)
    assert told(lines) == [
        ("22:01", "api_balance_exhausted", None, "zoe", 1),
        ("22:01", "api_balance_exhausted", None, "eve", 1),
        ("22:01", "api_quota_exceeded", "daily", "kim", 1),
        ("22:00", "api_rate_limited", "each", "ann", 2),
    ]
    assert lines[0]["lastReceipt"]["policyId"] == "of-acme"
    assert len(await read(metering, 2, "?to=2026-03-31T22:01:00Z")) == 1
    assert len(await read(metering, 3, "?from=2026-03-31T22:01:00Z")) == 3
    done = await run_command("metering", metering.dsn, "refusals", "acme", "--json")
    assert told(orjson.loads(done.output)) == told(lines)


async def test_refusals_are_listed_in_pages(metering: Metering, clock: MovableClock) -> None:
    await refuse_some(metering, clock)
    lines = await read(metering, 5)
    found: list[dict[str, Any]] = []
    path: str | None = f"{PATH}?limit=1"
    while path:
        page = await metering.admin("GET", path)
        found += page["refusals"]
        path = page["nextCursor"] and f"{PATH}?limit=1&cursor={page['nextCursor']}"
    assert found == lines
    status, error = await metering.call("GET", f"{PATH}?from=yesterday", key=ADMIN_KEY)
    assert (status, error["details"][0]["field"]) == (400, "from")


async def test_an_erased_users_refusals_are_nobodys(metering: Metering, clock: MovableClock) -> None:
    await refuse_some(metering, clock)
    await read(metering, 5)
    for user in ("ann", "eve", "zoe", "kim"):
        who = ("--client", "acme", "--user", user, "--yes")
        assert (await run_command("metering", metering.dsn, "users", "erase", *who)).code == 0
    lines = await read(metering, 5)
    assert {line["userId"] for line in lines} == {None}
    assert sorted(line["count"] for line in lines) == [1, 2, 2]


@pytest.mark.parametrize("order", [("ann", "bob", "eve"), ("bob", "eve", "ann"), ("eve", "bob", "ann")])
async def test_what_was_several_users_has_the_first_receipt_of_all_and_the_last(
    metering: Metering, clock: MovableClock, order: tuple[str, ...]
) -> None:
    quota = {"name": "daily", "limit": 1, "counts": "units", "period": "day"}
    await metering.give("acme", credits="unlimited", quotas=[quota])
    for units, user in ((2, "ann"), (3, "bob"), (4, "eve")):
        await metering.authorize(event(userId=user, units=units))
        clock.advance(seconds=10)
    await read(metering, 3)
    for user in order:
        who = ("--client", "acme", "--user", user, "--yes")
        assert (await run_command("metering", metering.dsn, "users", "erase", *who)).code == 0
    [line] = await read(metering, 3)
    receipts = (line["firstReceipt"], line["lastReceipt"])
    assert [receipt["gates"]["quotas"][0]["amount"] for receipt in receipts] == [2, 4]


async def test_two_processes_add_to_one_line(start_metering: StartMetering) -> None:
    metering = await start_metering(processes=2)
    await metering.give("acme")
    for process in range(2):
        await metering.authorize(event(), process=process)
    [line] = await read(metering, 2)
    assert line["firstReceipt"] == line["lastReceipt"]


RECEIPT = Receipt(
    "p",
    1,
    Policy((Rate("r", 1, 1, 1), Rate("s", 1, 1, 2)), (Quota("q", 1), Quota("z", 9)), {"*": 1}, "prepaid", "enforce"),
    *("t", 1, 0, [0, 2], [0, 9], 0),
)


def test_the_limit_that_refused_is_the_first_one_that_was_used_up() -> None:
    assert RECEIPT.find_limit("api_rate_limited") == "s"
    assert RECEIPT.find_limit("api_quota_exceeded") == "z"
    assert RECEIPT.find_limit("api_balance_exhausted") == ""


def test_a_flood_of_users_leaves_a_bounded_number_of_rows() -> None:
    log, at = RefusalLog(), datetime(2026, 3, 31, 22, 0, 30, tzinfo=UTC)
    for number in range(1000):
        decision = Decision("h", "denied", "api_rate_limited", 1, at, RECEIPT)
        log.note(BillableEvent("h", "e", "acme", "t", f"user-{number % 500}"), decision)
    taken = log.take_all()
    assert len(taken) == NAMED_USERS + 1
    assert sum(each.count for each in taken.values()) == 1000
    assert log.take_all() == {}
    # The same minute goes on: who has a name keeps it, and no more get one.
    for user in ("user-1", "user-499"):
        decision = Decision("h", "denied", "api_rate_limited", 1, at, RECEIPT)
        log.note(BillableEvent("h", "e", "acme", "t", user), decision)
    assert {key.user_id for key in log.take_all()} == {"user-1", ""}


def test_the_first_refusal_of_a_period_is_told_once_the_earliest_of_those_that_came_together() -> None:
    log, at = RefusalLog(), datetime(2026, 3, 31, 22, 0, 30, tzinfo=UTC)
    ends = [datetime(2026, 4, 1, tzinfo=UTC)] * 2

    def refuse(user: str, code: str, moment: datetime) -> None:
        decision = Decision("h", "denied", code, 1, moment, RECEIPT, ends)
        log.note(BillableEvent("h", "e", "acme", "t", user), decision)

    refuse("ann", "api_quota_exceeded", at.replace(second=31))
    refuse("eve", "api_quota_exceeded", at)
    refuse("eve", "api_rate_limited", at)
    first = list_first(log.take_all())
    assert [(told["key"], told["at"]) for told in first.values()] == [
        ("api_quota_exceeded z 2026-04-01T00:00:00Z", at),
        ("api_rate_limited s 2026-04-01T00:00:00Z", at),
    ]
    refuse("ann", "api_quota_exceeded", at.replace(second=32))
    refuse("ann", "api_balance_exhausted", at.replace(second=32))
    assert [told["data"]["code"] for told in list_first(log.take_all(), first).values()] == ["api_balance_exhausted"]
