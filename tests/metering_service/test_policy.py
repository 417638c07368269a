"""Terms and periods: calendar ones and anchored ones, from a plain reading of the calendar."""

import calendar
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_service.policies.administer import find_warnings
from metering_service.policies.policy import Policy, Quota, Rate
from metering_service.policies.schema import PolicySchema, make_policy
from service_chassis.errors import InvalidRequest
from service_chassis.http.json_body import load

PERIODS = ("hour", "day", "week", "month", "year")
MOMENTS = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


def find_period(
    connection: psycopg.Connection, period: str, anchor: datetime | None, moment: datetime
) -> tuple[datetime, datetime]:
    row = connection.execute("SELECT * FROM find_period(%s, %s, %s)", (period, anchor, moment)).fetchone()
    assert row is not None
    return row[0].astimezone(UTC), row[1].astimezone(UTC)


def nth(period: str, anchor: datetime, number: int) -> datetime:
    """Return when the period `number` from an anchor begins."""
    if period not in ("month", "year"):
        return (
            anchor
            + number * {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}[period]
        )
    months = anchor.year * 12 + anchor.month - 1 + number * (12 if period == "year" else 1)
    year, month = divmod(months, 12)
    return anchor.replace(year=year, month=month + 1, day=min(anchor.day, calendar.monthrange(year, month + 1)[1]))


def begin(period: str, moment: datetime) -> datetime:
    """Return when the calendar's period began."""
    hour = moment.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    return {
        "hour": hour,
        "day": day,
        "week": day - timedelta(days=moment.weekday()),
        "month": day.replace(day=1),
        "year": day.replace(day=1, month=1),
    }[period]


@pytest.fixture
def connection(metering_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(metering_dsn) as connection:
        connection.execute("SET TIME ZONE 'America/New_York'")  # whatever the session thinks
        yield connection


@given(moment=MOMENTS, anchor=MOMENTS, period=st.sampled_from(PERIODS))
def test_a_moment_is_in_its_period_which_begins_as_the_calendar_or_the_anchor_says(
    connection: psycopg.Connection, moment: datetime, anchor: datetime, period: str
) -> None:
    start, end = find_period(connection, period, None, moment)
    assert start == begin(period, moment)
    assert (start, end) == (start, nth(period, start, 1))
    start, end = find_period(connection, period, anchor, moment)
    assert start <= moment < end
    about = round(
        (start - anchor)
        / {
            "hour": timedelta(hours=1),
            "day": timedelta(days=1),
            "week": timedelta(days=7),
            "month": timedelta(days=30.436875),
            "year": timedelta(days=365.2425),
        }[period]
    )
    [number] = [n for n in (about - 1, about, about + 1) if nth(period, anchor, n) == start]
    assert end == nth(period, anchor, number + 1)


@pytest.mark.parametrize(
    ("anchor", "starts"),
    [
        ("2027-01-31", ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31"]),
        ("2028-01-30", ["2028-01-30", "2028-02-29", "2028-03-30", "2028-04-30"]),
        ("2028-02-29", ["2028-02-29", "2028-03-29", "2028-04-29"]),
        ("2027-03-31", ["2027-03-31", "2027-04-30", "2027-05-31", "2027-06-30"]),
    ],
)
def test_the_31st_is_a_shorter_months_last_day_and_the_31st_again_after_it(
    metering_dsn: str, anchor: str, starts: list[str]
) -> None:
    with psycopg.connect(metering_dsn) as connection:
        moments = [datetime.fromisoformat(start).replace(tzinfo=UTC) for start in starts]
        for moment, following in pairwise(moments):
            for each in (moment, following - timedelta(microseconds=1)):
                assert find_period(connection, "month", moments[0], each) == (moment, following)
        leap = datetime(2028, 2, 29, tzinfo=UTC)
        assert find_period(connection, "year", leap, datetime(2031, 3, 1, tzinfo=UTC)) == (
            datetime(2031, 2, 28, tzinfo=UTC),
            datetime(2032, 2, 29, tzinfo=UTC),
        )


def test_an_event_counts_in_the_limits_of_its_type_and_has_its_price_or_that_of_all() -> None:
    every, tokens = Quota("every", 1), Quota("tokens", 1, counts="units", event_types=("llm.tokens", "llm.images"))
    policy = Policy((Rate("r", 1, 1, 1),), (every, tokens), {"llm.tokens": 2, "*": 1}, "prepaid", "enforce")
    assert policy.quotas_of("llm.tokens") == [every, tokens]
    assert policy.quotas_of("plan_play.created") == [every]
    assert (policy.price_of("llm.tokens", 3), policy.price_of("other", 3)) == (6, 3)
    assert Policy((), (), {"a": 1}, "prepaid", "enforce").price_of("b", 1) is None
    assert [every.count(7, 14), tokens.count(7, 14), Quota("c", 1, counts="credits").count(7, 14)] == [1, 7, 14]


def test_a_type_with_a_blank_is_another_rule_than_two_types() -> None:
    assert Quota("q", 1, event_types=("a b",)).rule != Quota("q", 1, event_types=("a", "b")).rule
    assert Quota("q", 1, event_types=("b", "a")).rule == Quota("q", 1, event_types=("a", "b")).rule


def test_a_price_of_a_type_that_was_never_charged_is_warned_of_with_the_nearest() -> None:
    policy = Policy((), (), {"plan_play.create": 1, "plan_play.completed": 1, "*": 0}, "prepaid", "enforce")
    seen = ["plan_play.completed", "plan_play.created"]
    assert find_warnings(policy, seen) == ["plan_play.create: never charged so far, did you mean plan_play.created?"]
    assert find_warnings(policy, []) == []


MONTHLY = {"name": "monthly", "limit": 10, "period": "month"}


@pytest.mark.parametrize(
    ("notices", "field"),
    [
        ([{"of": "quota:daily", "at": [0.8]}], "notices.0.of"),
        ([{"of": "monthly", "at": [0.8]}], "notices.0.of"),
        ([{"of": "balance", "at": [1]}, {"of": "balance", "at": [2]}], "notices.1.of"),
        ([{"of": "quota:monthly", "at": []}], "notices.0.at"),
        ([{"of": "quota:monthly", "at": [0.8, 0]}], "notices.0.at.1"),
        ([{"of": "quota:monthly", "at": [0.8, 100.5]}], "notices.0.at.1"),
        ([{"of": "quota:monthly", "at": [-0.1]}], "notices.0.at.0"),
        ([{"of": "quota:monthly", "at": [True]}], "notices.0.at.0"),
        ([{"of": "quota:monthly", "at": ["0.8"]}], "notices.0.at.0"),
        ([{"of": "quota:monthly", "at": [1, 1.0]}], "notices.0.at.1"),
        ([{"of": "balance", "at": [0.5]}], "notices.0.at.0"),
        ([{"of": "balance", "at": [2**53]}], "notices.0.at.0"),
        ([{"of": "balance"}], "notices.0.at"),
        ([{"of": "balance", "at": [1], "to": "me"}], "notices.0.to"),
    ],
)
def test_a_notice_of_what_a_policy_does_not_have_or_cannot_reach_is_refused_by_its_field(
    notices: Any, field: str
) -> None:
    terms = {"quotas": [MONTHLY], "prices": {"*": 1}, "credits": "prepaid"}
    with pytest.raises(InvalidRequest) as refused:
        load(PolicySchema(), {**terms, "notices": notices})
    assert [detail.field for detail in refused.value.details] == [field]


def test_a_balance_that_nothing_is_taken_from_has_no_thresholds() -> None:
    with pytest.raises(InvalidRequest) as refused:
        load(PolicySchema(), {"prices": {"*": 1}, "credits": "unlimited", "notices": [{"of": "balance", "at": [1]}]})
    assert [detail.field for detail in refused.value.details] == ["notices.0.of"]


def test_thresholds_are_stored_and_shown_as_they_were_put() -> None:
    notices = [{"of": "quota:monthly", "at": [0.8, 1]}, {"of": "balance", "at": [100, -10]}]
    terms = {"quotas": [MONTHLY], "prices": {"*": 1}, "credits": {"overdraft": 20}, "notices": notices}
    policy = make_policy(PolicySchema().load(terms))
    assert policy.as_document()["notices"] == notices
    assert make_policy(PolicySchema().load(policy.as_document())) == policy
