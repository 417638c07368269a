"""Request rates: GCRA on the server's own clock, held against a model."""

import time

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering_service.metrics import MeteringMetrics
from metering_service.policies.policy import Policy, PolicyVersion, Rate, whole_seconds
from metering_service.rates.limiter import RateLimiter, rate_key
from service_chassis.clock import system_clock
from service_chassis.operations.metrics import Metrics


def version_of(rate: Rate | None, number: int = 1) -> PolicyVersion:
    return PolicyVersion("p", number, Policy(rate, None, {}, "unlimited", "enforce"), system_clock())


async def test_burst_passes_at_once_and_the_next_waits_an_interval(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, timeout_seconds=2, metrics=MeteringMetrics(Metrics()))
    version = version_of(Rate(limit=2, period_seconds=60, burst=3))
    outcomes = await limiter.take([("acme", version)] * 4)
    await limiter.aclose()
    assert [outcome.used_before for outcome in outcomes] == [0, 1, 2, None]
    assert 29_000_000 < outcomes[3].wait_microseconds <= 30_000_000


async def test_wait_is_true_to_the_second(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, timeout_seconds=2, metrics=MeteringMetrics(Metrics()))
    version = version_of(Rate(limit=1, period_seconds=100, burst=1))
    await limiter.take([("acme", version)])
    [refused] = await limiter.take([("acme", version)])
    seconds = whole_seconds(refused.wait_microseconds)
    # Time passes for the bucket when its arrival time moves back.
    with redis.Redis.from_url(redis_url) as client:
        key = rate_key("acme", version)

        def advance(by_seconds: int) -> None:
            client.set(key, int(client.get(key) or 0) - by_seconds * 1_000_000)

        advance(seconds - 1)
        [early] = await limiter.take([("acme", version)])
        advance(1)
        [on_time] = await limiter.take([("acme", version)])
    await limiter.aclose()
    assert early.wait_microseconds > 0
    assert on_time.wait_microseconds == 0


async def test_requests_of_one_batch_get_places_in_order_whoever_stands_between_them(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, timeout_seconds=2, metrics=MeteringMetrics(Metrics()))
    version = version_of(Rate(limit=1, period_seconds=3600, burst=3))
    await limiter.take([("one", version)])
    outcomes = await limiter.take(
        [("one", version), ("two", version), ("free", version_of(None)), ("one", version), ("one", version)]
    )
    await limiter.aclose()
    assert [outcome.used_before for outcome in outcomes] == [1, 0, None, 2, None]
    assert [outcome.wait_microseconds > 0 for outcome in outcomes] == [False] * 4 + [True]


async def test_clients_and_policy_versions_have_buckets_of_their_own(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, timeout_seconds=2, metrics=MeteringMetrics(Metrics()))
    rate = Rate(limit=1, period_seconds=60, burst=1)
    outcomes = await limiter.take(
        [
            ("one", version_of(rate)),
            ("two", version_of(rate)),
            ("one", version_of(rate, 2)),
            ("one", version_of(rate)),
        ]
    )
    await limiter.aclose()
    assert [outcome.wait_microseconds > 0 for outcome in outcomes] == [False, False, False, True]


async def test_buckets_expire_when_they_are_full_again(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, timeout_seconds=2, metrics=MeteringMetrics(Metrics()))
    version = version_of(Rate(limit=60, period_seconds=60, burst=100))
    await limiter.take([("acme", version)] * 10)
    await limiter.aclose()
    with redis.Redis.from_url(redis_url) as client:
        assert 9_000 < int(client.pttl(rate_key("acme", version))) <= 11_000


async def test_silent_redis_costs_its_timeout_once_and_opens_rates(redis_url: str) -> None:
    metrics = Metrics()
    limiter = RateLimiter(redis_url, timeout_seconds=0.1, metrics=MeteringMetrics(metrics))
    version = version_of(Rate(limit=1, period_seconds=60, burst=1))
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("CLIENT", "PAUSE", 1500, "ALL")
        began = time.monotonic()
        outcomes = await limiter.take([("acme", version)] * 3) + await limiter.take([("acme", version)])
        took = time.monotonic() - began
        client.execute_command("CLIENT", "UNPAUSE")
    await limiter.aclose()
    assert [outcome.wait_microseconds for outcome in outcomes] == [0] * 4
    assert took < 1.0
    assert b"metering_rate_open_total 4.0" in metrics.render()


@given(
    limit=st.integers(1, 1000),
    period_seconds=st.integers(1, 86_400),
    burst=st.integers(1, 50),
    requests=st.integers(1, 120),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_fresh_bucket_passes_exactly_its_burst(
    redis_url: str, limit: int, period_seconds: int, burst: int, requests: int
) -> None:
    rate = Rate(limit, period_seconds, burst)
    if rate.interval_microseconds < 1_000_000:
        rate = Rate(limit, period_seconds + limit, burst)  # slow enough that nothing comes back meanwhile
    limiter = RateLimiter(redis_url, timeout_seconds=2, metrics=MeteringMetrics(Metrics()))
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    outcomes = await limiter.take([("acme", version_of(rate))] * requests)
    await limiter.aclose()
    passed = [outcome.wait_microseconds == 0 for outcome in outcomes]
    assert sum(passed) == min(burst, requests)
    assert passed == sorted(passed, reverse=True)
