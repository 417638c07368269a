"""Calendar periods and waits, to the second."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_service.policies.policy import Period, find_period, seconds_until_period_ends

MOMENTS = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(now=MOMENTS, period=st.sampled_from(["day", "month"]))
def test_after_the_wait_the_period_is_over_and_a_second_earlier_it_is_not(now: datetime, period: Period) -> None:
    _, end = find_period(period, now)
    wait = seconds_until_period_ends(period, now)
    assert now + timedelta(seconds=wait) >= end
    assert now + timedelta(seconds=wait - 1) < end


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [("day", (2028, 2, 29), (2028, 3, 1)), ("month", (2028, 2, 1), (2028, 3, 1))],
)
def test_periods_follow_the_calendar(period: Period, start: tuple[int, int, int], end: tuple[int, int, int]) -> None:
    now = datetime(2028, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
    assert find_period(period, now) == (datetime(*start, tzinfo=UTC), datetime(*end, tzinfo=UTC))
