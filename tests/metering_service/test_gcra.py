"""GCRA on the server's own clock, held against its specification."""

from collections.abc import Sequence

import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from metering_service.policies.policy import Rate
from metering_service.rates import gcra
from metering_service.rates.connections import SCRIPT


class At:
    """The script at a moment of our own."""

    def __init__(self, client: redis.Redis, now: int) -> None:
        told = f"local time = {{ {now // 1_000_000}, {now % 1_000_000} }}"
        script = SCRIPT.replace("local time = redis.call('TIME')", told)
        assert script != SCRIPT
        self._client, self._script = client, script

    def take(self, rates: Sequence[Rate], requests: Sequence[Sequence[int]]) -> list[int]:
        arguments: list[int] = [1]
        for rate in rates:
            arguments += rate.as_script_arguments
        for places in requests:
            arguments += [len(places), *(place + 1 for place in places)]
        keys = [f"bucket-{n}" for n in range(len(rates))]
        return list(self._client.eval(self._script, len(keys), *keys, *arguments))


any_rate = st.builds(Rate, st.just("r"), st.integers(1, 1_000_000), st.integers(1, 86_400), st.integers(1, 1000))


@given(
    rates=st.lists(any_rate, min_size=1, max_size=3),
    steps=st.lists(
        st.tuples(
            st.integers(-3_000_000, 100_000_000),
            st.lists(st.sets(st.integers(0, 2), min_size=1).map(sorted), min_size=1, max_size=40),
        ),
        min_size=1,
        max_size=12,
    ),
)
@example(rates=[Rate("r", 1, 1000, 2)], steps=[(0, [[0]]), (-1, [[0]])])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_script_does_what_the_specification_says(
    redis_url: str, rates: list[Rate], steps: list[tuple[int, list[list[int]]]]
) -> None:
    now = 1_800_000_000_000_000
    buckets = [gcra.Bucket(0, rate.limit, rate.period_microseconds, rate.burst) for rate in rates]
    with redis.Redis.from_url(redis_url) as client:
        client.delete("bucket-0", "bucket-1", "bucket-2")
        for passes, asked in steps:
            now += passes
            requests = [list(dict.fromkeys(place % len(rates) for place in places)) for places in asked]
            stored = [bucket.arrival for bucket in buckets]
            expected = gcra.take(buckets, now, requests)
            assert At(client, now).take(rates, requests) == [
                number for taken in expected for number in (taken.wait_seconds, *taken.used)
            ]
            passed = {
                place
                for taken, places in zip(expected, requests, strict=True)
                if not taken.wait_seconds
                for place in places
            }
            for n, bucket in enumerate(buckets):
                if n in passed:
                    found = client.get(f"bucket-{n}")
                    assert found is not None
                    assert found.decode() == "{}:{}".format(*divmod(bucket.arrival, bucket.limit))
                else:
                    bucket.arrival = stored[n]  # what was only looked at is not stored


def test_nothing_is_rounded_in_the_clients_favour() -> None:
    """600,000 a second is an interval of 1.67 microseconds, not of one, by which all that ask would pass."""
    bucket, passed = gcra.Bucket(0, 600_000, 1_000_000, 1000), 0
    for now in range(0, 50_000, 1000):
        passed += sum(not taken.wait_seconds for taken in gcra.take([bucket], now, [[0]] * 2000))
    assert passed <= 30_000 + 1000
