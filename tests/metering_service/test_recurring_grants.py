"""Credits that come again: each period's grant once, on its day, with what goes over from the last."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from tests.metering_service.conftest import ADMIN_KEY, Metering, StartMetering, event
from tests.metering_service.credits import PATH, balance, lefts, lines, recur, refuse
from tests.metering_service.movable_clock import MovableClock


async def test_a_month_from_the_31st_on_keeps_to_the_ends_of_months(acme: Metering, clock: MovableClock) -> None:
    await recur(acme, "plan", startsAt="2026-01-31T00:00:00Z", rollover=None)
    clock.advance(days=365)
    await balance(acme)
    assert [at for _, _, at in await lines(acme, "grant")] == [
        f"2026-{day}T00:00:00Z"
        for day in ("03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30", "10-31", "11-30", "12-31")
    ] + [f"2027-{day}T00:00:00Z" for day in ("01-31", "02-28", "03-31")]


async def test_a_year_from_the_29th_of_february_on_falls_on_the_28th_until_the_next_leap_year(
    acme: Metering, clock: MovableClock
) -> None:
    await recur(acme, "plan", every="year", startsAt="2024-02-29T12:00:00Z")
    clock.advance(days=365 * 3)
    await balance(acme)
    assert [at for _, _, at in await lines(acme, "grant")] == [
        "2026-02-28T12:00:00Z",
        "2027-02-28T12:00:00Z",
        "2028-02-29T12:00:00Z",
        "2029-02-28T12:00:00Z",
    ]


async def test_each_periods_grant_exists_once_also_when_many_ask_after_three_months(
    start_metering: StartMetering, clock: MovableClock
) -> None:
    metering = await start_metering(processes=2)
    await metering.give("acme")
    await recur(metering, "daily", every="day", startsAt="2026-03-31T00:00:00Z")
    clock.advance(days=90)
    decisions = await asyncio.gather(*(metering.decide(event(), process=number % 2) for number in range(20)))
    assert [decision["decision"] for [decision] in decisions].count("granted") == 10
    granted = await lines(metering, "grant")
    assert len({at for _, _, at in granted}) == len(granted) == 91
    assert (await balance(metering))["expired"] == 900


async def test_what_is_left_of_a_period_goes_over_into_the_next_up_to_its_most(
    acme: Metering, clock: MovableClock
) -> None:
    await recur(acme, "plan", startsAt="2026-03-01T00:00:00Z", rollover={"max": 4})
    held = event(units=3)
    await acme.authorize(held)
    clock.advance(days=2)
    # 7 were left, 4 of them go over; the 3 that are held do not count as left.
    found = await balance(acme)
    assert (found["granted"], found["expired"], found["held"], found["available"]) == (24, 7, 3, 14)
    assert await lefts(acme) == [("plan:2026-04-01T00:00:00Z", 14)]
    await acme.authorize(event(units=12))
    clock.advance(days=30)
    assert await lefts(acme) == [("plan:2026-05-01T00:00:00Z", 12)]


async def test_a_change_of_a_recurring_grant_counts_from_the_next_period(acme: Metering, clock: MovableClock) -> None:
    terms = {"startsAt": "2026-03-01T00:00:00Z"}
    first = await recur(acme, "plan", **terms)
    assert first["nextAt"] == "2026-04-01T00:00:00Z"
    assert await recur(acme, "plan", **terms) == first
    await recur(acme, "plan", credits=20, **terms)
    assert (await balance(acme))["available"] == 10
    clock.advance(days=2)
    assert (await balance(acme))["available"] == 20
    ended = await recur(acme, "plan", credits=20, endsAt="2026-05-01T00:00:00Z", **terms)
    assert ended["nextAt"] is None
    clock.advance(days=60)
    assert (await balance(acme))["available"] == 0
    # Taken up again it makes nothing for the time between.
    again = await recur(acme, "plan", credits=20, **terms)
    assert again["nextAt"] == "2026-07-01T00:00:00Z"
    assert (await balance(acme))["granted"] == 30
    listed = await acme.admin("GET", f"{PATH}/recurring-grants")
    assert listed == {"clientId": "acme", "recurringGrants": [again]}


WRONG_TERMS: Any = [
    ({"endsAt": "2026-03-01T00:00:00Z"}, "endsAt"),
    ({"expires": "never", "rollover": {"max": 1}}, "rollover"),
    ({"every": "fortnight"}, "every"),
    ({"rollover": {"max": 0}}, "rollover.max"),
]


async def test_wrong_terms_of_a_recurring_grant_are_refused_by_name(
    acme: Metering, subtests: pytest.Subtests
) -> None:
    for terms, field in WRONG_TERMS:
        with subtests.test(terms=terms, field=field):
            body = {"credits": 1, "every": "month", "startsAt": "2026-03-01T00:00:00Z", "expires": "period", **terms}
            assert await refuse(acme, "PUT", "recurring-grants/plan", body) == (400, field)


async def test_a_clock_that_goes_back_does_not_grant_a_period_twice(acme: Metering, clock: MovableClock) -> None:
    await recur(acme, "daily", every="day", startsAt="2026-03-31T00:00:00Z")
    clock.advance(hours=3)
    assert (await balance(acme))["granted"] == 20
    clock.advance(hours=-3)
    assert (await balance(acme))["granted"] == 20
    clock.advance(hours=3)
    assert (await balance(acme))["granted"] == 20
    assert datetime.fromisoformat((await balance(acme))["expiringNext"]["at"]).day == 2


async def test_whatever_becomes_of_its_start_a_period_under_way_is_not_granted_again(acme: Metering) -> None:
    for starts_at in ("2026-03-01T00:00:00Z", "2026-04-05T00:00:00Z", "2026-03-02T00:00:00Z"):
        put = await recur(acme, "plan", startsAt=starts_at)
    assert (await lefts(acme), put["nextAt"]) == ([("plan:2026-03-01T00:00:00Z", 10)], "2026-04-02T00:00:00Z")


async def test_every_grant_of_a_recurring_one_has_an_id_that_it_can_be_voided_by(acme: Metering) -> None:
    longest = "x" * 234
    await recur(acme, longest, every="day", startsAt="2026-03-31T00:00:00Z")
    [grant] = (await balance(acme))["grants"]
    await acme.admin("POST", f"{PATH}/grants/{grant['grantId']}/void", {"reason": "tried"})
    body = {"credits": 1, "every": "day", "startsAt": "2026-03-31T00:00:00Z", "expires": "period"}
    status, error = await acme.call("PUT", f"{PATH}/recurring-grants/x{longest}", body, key=ADMIN_KEY)
    assert (status, [each["field"] for each in error["details"]]) == (400, ["recurringId"])
