"""A replay says what the gates would have said, as far as what is kept tells."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from metering_service.events.event import BALANCE_EXHAUSTED, NOT_SOLD, QUOTA_EXCEEDED
from metering_service.policies.policy import Policy, Quota
from metering_service.replay.replay import Attempts, ClientReplay, find_start, replay

MONDAY = datetime(2026, 3, 30, tzinfo=UTC)


def make_policy(*quotas: Quota, price: int = 1, **changes: Any) -> Policy:
    return Policy((), quotas, {"play": price}, changes.pop("credits", "unlimited"), "enforce", **changes)


def attempts(events: int, *, hour: int = 0, **changes: Any) -> Attempts:
    known = {"event_type": "play", "user_id": "", "units": 1, "credits": 1, "events": events}
    return Attempts("acme", MONDAY + timedelta(hours=hour), **{**known, **changes})


def run(draft: Policy, *tried: Attempts, **known: Any) -> ClientReplay:
    available = {"acme": known.get("available", 0)}
    given = {"acme": known.get("given", [])}
    [found] = replay(draft, tried, MONDAY, available, given, known.get("used_before", {}))
    return found


def test_prices_are_the_drafts_and_a_type_without_one_is_not_sold() -> None:
    found = run(make_policy(price=3, credits="overdraft", overdraft=10**9), attempts(4), attempts(2, units=5))
    assert (found.charged, found.credits) == (6, 6)
    assert (found.draft_charged, found.draft_credits) == (6, 4 * 3 + 2 * 15)
    other = run(make_policy(), attempts(4, event_type="other"))
    assert other.refused == {(NOT_SOLD, ""): 4}


@pytest.mark.parametrize(
    ("period", "hours", "passed"),
    [("hour", (0, 1), 6), ("day", (0, 23, 24), 6), ("week", (0, 24), 3), ("month", (0, 48), 6)],
)
def test_a_quota_begins_anew_with_each_of_its_periods(period: Any, hours: tuple[int, ...], passed: int) -> None:
    draft = make_policy(Quota("plays", 3, period=period))
    found = run(draft, *(attempts(5, hour=hour) for hour in hours))
    assert found.draft_charged == passed
    assert found.refused == {(QUOTA_EXCEEDED, "plays"): 5 * len(hours) - passed}


def test_what_was_used_before_the_replay_counts_in_the_period_that_runs() -> None:
    draft = make_policy(Quota("units", 10, counts="units"))
    used = {("acme", "month"): {"play": (2, 7, 7)}}
    assert run(draft, attempts(5), used_before=used).draft_charged == 3
    assert run(draft, attempts(5, hour=48), used_before=used).draft_charged == 5  # April
    unsold = {("acme", "month"): {"other": (2, 7, 7)}}
    assert (
        run(make_policy(Quota("units", 10, event_types=("play",))), attempts(9), used_before=unsold).draft_charged
        == 9
    )


def test_overage_passes_and_a_quota_per_user_is_each_users() -> None:
    assert run(make_policy(Quota("plays", 3, overage=2)), attempts(9)).draft_charged == 5
    assert run(make_policy(Quota("plays", 3, overage=None)), attempts(9)).draft_charged == 9
    both = run(make_policy(Quota("plays", 3, per="user")), attempts(5, user_id="a"), attempts(5, user_id="b"))
    assert both.draft_charged == 6


def test_credits_are_those_of_that_time_and_what_is_given_counts_from_its_hour_on() -> None:
    draft = make_policy(price=2, credits="prepaid")
    tried = (attempts(3), attempts(3, hour=5))
    found = run(draft, *tried, available=4, given=[(MONDAY + timedelta(hours=5), 2)])
    assert found.draft_charged == 3
    assert found.refused == {(BALANCE_EXHAUSTED, ""): 3}
    overdrawn = make_policy(price=2, credits="overdraft", overdraft=4)
    assert run(overdrawn, *tried, available=4).draft_charged == 4


def test_a_draft_in_shadow_mode_refuses_nothing_and_takes_no_credits_that_are_not_there() -> None:
    draft = replace(make_policy(Quota("plays", 1), price=2, credits="prepaid"), mode="shadow")
    tried = (attempts(3), attempts(4, event_type="unsold"), attempts(5, hour=5))
    found = run(draft, *tried, available=8, given=[(MONDAY + timedelta(hours=5), 3)])
    assert (found.draft_charged, found.refused) == (12, {})
    assert found.draft_credits == 3 * 2 + 2 * 2  # of the five credits that there are then
    assert run(replace(make_policy(), mode="shadow"), attempts(2, event_type="unsold")).draft_charged == 2


def test_refused_attempts_that_would_pass_are_counted_apart() -> None:
    found = run(make_policy(Quota("plays", 4)), attempts(3), attempts(3, hour=1, refused=True, credits=0))
    assert (found.charged, found.admitted, found.draft_charged) == (3, 1, 4)
    assert found.refused == {}


def test_a_period_begins_where_the_calendar_says() -> None:
    moment = datetime(2026, 4, 1, 13, 14, 15, tzinfo=UTC)  # a Wednesday
    assert [str(find_start(period, moment))[:16] for period in ("hour", "day", "week", "month", "year")] == [
        *("2026-04-01 13:00", "2026-04-01 00:00", "2026-03-30 00:00", "2026-04-01 00:00", "2026-01-01 00:00"),
    ]
