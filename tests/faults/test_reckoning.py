"""The reckoning of metering's books, on books made by hand: silent about what may be, and loud about what may not."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from prove.history import Change, Record, Refund
from tests.faults.checker import Conditions, check_history
from tests.faults.metering_time import Move, Timeline, period_of
from tests.faults.operator import CONTRACT_POLICY, DAILY_CREDITS, MOST_ROLLED_OVER
from tests.faults.reckoning import Books, check_books
from tests.faults.rows import CounterRow, GrantRow, HoldRow
from tests.faults.test_checker import attempt

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
START = datetime(2026, 1, 30, tzinfo=UTC)
NOON = START + 12 * HOUR
POLICY = Change("acme", START, policy=CONTRACT_POLICY, done_at=START)


def charge(held_at: datetime = NOON, event_id: str = "e", **what: Any) -> HoldRow:
    return HoldRow("acme", event_id, "settled", 3, held_at, held_at + HOUR, False, **{"units": 3, **what})


def given(grant_id: str = "g", credits: int = 3, begins: datetime = START, **what: Any) -> GrantRow:
    return GrantRow("acme", what.pop("kind", "grant"), grant_id, credits, begins, **what)


def daily(day: int, credits: int = DAILY_CREDITS, **what: Any) -> GrantRow:
    begins = START + day * DAY
    return given(f"daily:{begins}", credits, begins, expires_at=begins + DAY, recurring_id="daily", **what)


def counter(name: str, used: int, held: int = 0, begins: datetime = NOON) -> CounterRow:
    return CounterRow("acme", name, "", begins, used, held)


COUNTED = (counter("units", 3), counter("of a user", 1, begins=START))


def rules(
    holds: Sequence[HoldRow] = (),
    grants: Sequence[GrantRow] = (),
    counters: Sequence[CounterRow] = (),
    refunds: Sequence[Refund] = (),
    now: datetime = START + DAY - HOUR,
) -> list[str]:
    record = Record(changes=[POLICY], refunds=list(refunds))
    return [finding.rule for finding in check_books(record, Books(now, holds, grants, counters))]


def test_charge_that_a_grant_of_its_time_can_pay_is_no_finding() -> None:
    later = NOON + HOUR / 2
    for grant in (given(), given(expires_at=later), given(voided_at=later)):
        assert rules([charge()], [grant], COUNTED) == []


@pytest.mark.parametrize(
    "grant",
    [
        given(credits=2),
        given(expires_at=NOON),
        given(voided_at=NOON),
        given(begins=NOON + 2 * HOUR),
    ],
    ids=["too small", "expired", "voided", "not begun"],
)
def test_charge_beyond_the_grants_of_its_time_is_oversold(grant: GrantRow) -> None:
    assert rules([charge()], [grant], COUNTED) == ["3-oversold"]


def test_credits_that_were_spent_before_pay_for_nothing_later_though_their_grant_lives() -> None:
    sold = [charge(NOON - HOUR, "d"), charge(), charge(NOON + HOUR, "f")]
    counted = [counter("units", 3, begins=NOON + hours * HOUR) for hours in (-1, 0, 1)]
    counted.append(counter("of a user", 3, begins=START))
    lasting, short = given(credits=6), given("short", begins=NOON, expires_at=NOON + HOUR)
    assert rules(sold, [lasting, short], counted) == []
    for begins in (START, NOON + 3 * HOUR):
        elsewhen = replace(short, effective_at=begins, expires_at=begins + HOUR)
        assert rules(sold, [lasting, elsewhen], counted) == ["3-oversold"]


def test_grant_that_begins_under_a_hold_can_pay_for_it() -> None:
    """So that what the hold lay on before pays for another, later."""
    night, day = given("night", 3), given("day", 3, NOON + HOUR / 2, expires_at=NOON + 2 * HOUR)
    later = NOON + 6 * HOUR
    counted = [counter("units", 3), counter("units", 3, begins=later), counter("of a user", 2, begins=START)]
    assert rules([charge(), charge(later, "f")], [night, day], counted) == []


def test_grant_that_expired_unused_does_not_pay_for_what_came_later() -> None:
    before, after = given("before", 5, expires_at=START + HOUR), given("after", 2, NOON - HOUR)
    assert rules([charge()], [before, after], COUNTED) == ["3-oversold"]


@pytest.mark.parametrize(
    "counters",
    [
        (counter("units", 2), COUNTED[1]),
        (counter("units", 3, held=2), COUNTED[1]),
        (COUNTED[1],),
        (*COUNTED, counter("units", 1, begins=NOON + HOUR)),
    ],
    ids=["too low", "still held", "missing", "of another period"],
)
def test_counter_that_is_not_what_was_charged_in_its_period_is_found(counters: Sequence[CounterRow]) -> None:
    assert rules([charge()], [given()], counters) == ["3-counter"]


def test_counter_that_was_forgotten_is_missed_for_a_time_only() -> None:
    assert rules([charge()], [given()], now=START + 40 * DAY) == []
    assert rules([charge()], [given()], now=START + 30 * DAY) == ["3-counter", "3-counter"]


def test_units_beyond_a_quota_at_once_are_found_and_given_back_ones_are_not() -> None:
    full = [charge(units=25), replace(charge(NOON + HOUR / 4, "f", units=3, events=0), state="released")]
    counters = [counter("units", 25), COUNTED[1]]
    assert rules(full, [given(credits=9)], counters) == ["3-quota-oversold"]
    in_time = [full[0], replace(full[1], held_at=NOON - HOUR / 4, closed_at=NOON - HOUR / 8)]
    assert rules(in_time, [given(credits=9)], counters) == []


def test_each_day_has_its_grant_with_what_went_over() -> None:
    days = [daily(0, lapsed_then=4), daily(1, DAILY_CREDITS + 4, lapsed_then=30), daily(2, DAILY_CREDITS + 10)]
    now = START + 2 * DAY + HOUR
    assert MOST_ROLLED_OVER == 10
    assert rules(grants=days, now=now) == []
    assert rules(grants=days, now=now + DAY) == ["3-recurrence"]
    assert rules(grants=[days[0], days[2]], now=now) == ["3-recurrence"]
    assert rules(grants=[*days, replace(days[1], grant_id="again")], now=now) == ["3-recurrence"]
    assert rules(grants=[days[0], daily(1, DAILY_CREDITS, lapsed_then=30), days[2]], now=now) == ["3-rollover"]
    assert rules(grants=days, now=now - DAY) == ["3-recurrence"]


def test_refund_is_what_was_asked_for_and_at_most_what_was_charged() -> None:
    asked, refund = Refund("acme", "r", "e", 3), given("r", 3, kind="refund", event_id="e", begins=NOON + HOUR)
    sold = [charge()], [given(), refund], COUNTED
    assert rules(*sold, [asked]) == []
    assert rules(*sold, [replace_credits(asked, None)]) == []
    assert rules(*sold, []) == ["3-refund"]
    assert rules([charge()], [given()], COUNTED, [asked]) == ["3-refund"]
    twice = [given(), refund, replace(refund, grant_id="s")]
    assert rules([charge()], twice, COUNTED, [asked, Refund("acme", "s", "e")]) == ["3-refunded-twice"]


def replace_credits(refund: Refund, credits: int | None) -> Refund:
    return Refund(refund.client_id, refund.refund_id, refund.event_id, credits)


def test_periods_are_the_calendars() -> None:
    moment = datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC)
    assert period_of("hour", moment) == (moment.replace(minute=0, second=0), datetime(2028, 3, 1, tzinfo=UTC))
    assert period_of("day", moment) == (datetime(2028, 2, 29, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC))
    assert period_of("month", moment) == (datetime(2028, 2, 1, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC))


def test_time_that_is_being_moved_is_before_or_after() -> None:
    time = Timeline([Move(NOON, DAY, NOON + HOUR)])
    for at, earliest, latest in ((-1, 0, 0), (0, 0, 1), (0.5, 0, 1), (1, 1, 1)):
        moment = NOON + at * HOUR
        assert (time.earliest(moment), time.latest(moment)) == (moment + earliest * DAY, moment + latest * DAY)
    assert [time.real(NOON + passed) for passed in (-HOUR, DAY / 2, DAY + HOUR)] == [NOON - HOUR, NOON, NOON + HOUR]


def refused(code: str, begun: datetime, holds: Sequence[HoldRow], grants: Sequence[GrantRow], time: Timeline) -> bool:
    """Return whether a refusal, which took a second, is called false."""
    asked = attempt("create-1", status=429, code=code)
    asked.begun_at, asked.ended_at = begun, begun + timedelta(seconds=1)
    record = Record(attempts=[asked], changes=[POLICY])
    found = {finding.rule for finding in check_history(record, [], holds, Conditions(grants, time))}
    assert found <= {"4-false-refusal"}
    return bool(found)


def test_quota_of_a_period_is_full_in_it_and_not_in_the_next() -> None:
    full, still = [charge(units=25)], Timeline()
    later = NOON + HOUR / 4
    assert not refused("api_quota_exceeded", later, full, [], still)
    assert refused("api_quota_exceeded", later, [charge(units=24)], [], still)
    assert refused("api_quota_exceeded", later + HOUR, full, [], still)
    assert refused("api_quota_exceeded", later, full, [], Timeline([Move(NOON, HOUR, NOON)]))
    assert not refused("api_quota_exceeded", later, full, [], Timeline([Move(later, HOUR, later + HOUR)]))


def test_recurring_grant_can_be_spent_in_its_period_and_comes_again_after_it() -> None:
    spent, days = [replace(charge(), credits=35)], [daily(0), daily(1)]
    later = NOON + HOUR
    assert not refused("api_balance_exhausted", later, spent, days, Timeline())
    assert refused("api_balance_exhausted", later, [replace(charge(), credits=34)], days, Timeline())
    assert refused("api_balance_exhausted", later + DAY, spent, days, Timeline())
    assert refused("api_balance_exhausted", later, spent, days, Timeline([Move(NOON, DAY, NOON)]))
