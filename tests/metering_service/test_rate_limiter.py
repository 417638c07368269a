"""Request rates: GCRA on the server's own clock, held against its specification; and servers that go away or
change."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering_service.metrics import MeteringMetrics
from metering_service.policies.policy import Policy, PolicyVersion, Rate
from metering_service.rates import gcra, limiter
from metering_service.rates.limiter import RateLimiter, rate_key
from service_chassis.clock import system_clock
from service_chassis.operations.metrics import Metrics

StartLimiter = Callable[..., Awaitable[RateLimiter]]


def version_of(rate: Rate | None, number: int = 1) -> PolicyVersion:
    return PolicyVersion("p", number, Policy(rate, None, {}, "unlimited", "enforce"), system_clock())


@pytest.fixture
async def start_limiter(redis_url: str) -> AsyncIterator[StartLimiter]:
    started: list[RateLimiter] = []
    lost: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))

    async def start(
        url: str = redis_url, timeout_seconds: float = 2.0, metrics: Metrics | None = None
    ) -> RateLimiter:
        rates = RateLimiter(url, timeout_seconds=timeout_seconds, metrics=MeteringMetrics(metrics or Metrics()))
        started.append(rates)
        await rates.connect()
        return rates

    yield start
    for rates in started:
        await rates.aclose()
    assert lost == []  # no exception is lost, whatever became of a server


async def test_burst_passes_at_once_and_each_of_the_others_waits_for_those_before_it(
    start_limiter: StartLimiter,
) -> None:
    rates = await start_limiter()
    version = version_of(Rate(limit=2, period_seconds=60, burst=3))
    outcomes = await rates.take([("acme", version)] * 6)
    assert [outcome.used_before for outcome in outcomes] == [0, 1, 2, None, None, None]
    assert [outcome.wait_seconds for outcome in outcomes] == [0, 0, 0, 30, 60, 90]


async def test_wait_is_true_to_the_second(redis_url: str, start_limiter: StartLimiter) -> None:
    rates = await start_limiter()
    version = version_of(Rate(limit=1, period_seconds=100, burst=1))
    await rates.take([("acme", version)])
    [refused] = await rates.take([("acme", version)])
    # Time passes for the bucket when its arrival time moves back.
    with redis.Redis.from_url(redis_url) as client:
        key = rate_key("acme", version)

        def advance(by_seconds: int) -> None:
            micros, _, ticks = (client.get(key) or b"0:0").decode().partition(":")
            client.set(key, f"{int(micros) - by_seconds * 1_000_000}:{ticks}")

        advance(refused.wait_seconds - 1)
        [early] = await rates.take([("acme", version)])
        advance(1)
        [on_time] = await rates.take([("acme", version)])
    assert early.wait_seconds > 0
    assert on_time.wait_seconds == 0


async def test_requests_of_one_batch_get_places_in_order_whoever_stands_between_them(
    start_limiter: StartLimiter,
) -> None:
    rates = await start_limiter()
    version = version_of(Rate(limit=1, period_seconds=3600, burst=3))
    await rates.take([("one", version)])
    outcomes = await rates.take(
        [("one", version), ("two", version), ("free", version_of(None)), ("one", version), ("one", version)]
    )
    assert [outcome.used_before for outcome in outcomes] == [1, 0, None, 2, None]
    assert [outcome.wait_seconds > 0 for outcome in outcomes] == [False] * 4 + [True]


async def test_clients_and_policy_versions_have_buckets_of_their_own(start_limiter: StartLimiter) -> None:
    rates = await start_limiter()
    rate = Rate(limit=1, period_seconds=60, burst=1)
    outcomes = await rates.take(
        [
            ("one", version_of(rate)),
            ("two", version_of(rate)),
            ("one", version_of(rate, 2)),
            ("one", version_of(rate)),
        ]
    )
    assert [outcome.wait_seconds > 0 for outcome in outcomes] == [False, False, False, True]


async def test_buckets_expire_when_they_are_full_again(redis_url: str, start_limiter: StartLimiter) -> None:
    rates = await start_limiter()
    version = version_of(Rate(limit=60, period_seconds=60, burst=100))
    await rates.take([("acme", version)] * 10)
    with redis.Redis.from_url(redis_url) as client:
        assert 9_000 < int(client.pttl(rate_key("acme", version))) <= 11_000


async def test_a_bucket_from_the_future_is_no_fuller_than_full(redis_url: str, start_limiter: StartLimiter) -> None:
    """The server's clock was ahead and was set back: what the policy allows bounds the wait."""
    rates = await start_limiter()
    version = version_of(Rate(limit=1, period_seconds=10, burst=3))
    with redis.Redis.from_url(redis_url) as client:
        client.set(rate_key("acme", version), f"{int((time.time() + 3600) * 1_000_000)}:0")
    [refused] = await rates.take([("acme", version)])
    assert refused.wait_seconds == 10


async def test_silent_server_costs_its_timeout_once_and_rates_fail_open_until_it_speaks(
    redis_url: str, start_limiter: StartLimiter
) -> None:
    metrics = Metrics()
    rates = await start_limiter(timeout_seconds=0.1, metrics=metrics)
    version = version_of(Rate(limit=1, period_seconds=60, burst=1))

    def since() -> float:
        return metrics.registry.get_sample_value("metering_rates_failing_open_since_seconds") or 0.0

    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("CLIENT", "PAUSE", 1500, "ALL")
        began = time.monotonic()
        outcomes = [outcome for _ in range(4) for outcome in await rates.take([("acme", version)])]
        took = time.monotonic() - began
        client.execute_command("CLIENT", "UNPAUSE")
    assert [outcome.wait_seconds for outcome in outcomes] == [0] * 4
    assert took < 1.0
    assert b"metering_rate_open_total 4.0" in metrics.render()
    assert since() > time.time() - 60
    async with asyncio.timeout(10):
        while since():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    assert sum(outcome.wait_seconds > 0 for outcome in await rates.take([("acme", version)] * 3)) >= 2


async def test_a_demoted_server_is_left_for_the_one_that_takes_its_name(
    redis_url: str, start_limiter: StartLimiter
) -> None:
    rates = await start_limiter()
    version = version_of(Rate(limit=1, period_seconds=3600, burst=1))
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            outcomes = await rates.take([("acme", version)] * 2)
        finally:
            client.execute_command("REPLICAOF", "NO", "ONE")
        assert [outcome.wait_seconds for outcome in outcomes] == [0, 0]
    async with asyncio.timeout(10):
        while not any(outcome.wait_seconds for outcome in await rates.take([("acme", version)] * 2)):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)


async def test_a_name_that_is_not_found_costs_no_request_anything(start_limiter: StartLimiter) -> None:
    rates = await start_limiter(url="redis://no-such-host.invalid:6379/0", timeout_seconds=0.1)
    began = time.monotonic()
    for _ in range(20):
        await rates.take([("acme", version_of(Rate(1, 1, 1)))])
    assert time.monotonic() - began < 0.1


class At:
    """The script at a moment of our own."""

    def __init__(self, client: redis.Redis, now: int) -> None:
        told = f"local time = {{ {now // 1_000_000}, {now % 1_000_000} }}"
        script = limiter._SCRIPT.replace("local time = redis.call('TIME')", told)
        assert script != limiter._SCRIPT
        self._client, self._script = client, script

    def take(self, rate: Rate, requests: int) -> list[int]:
        return list(self._client.eval(self._script, 1, "bucket", *rate.as_script_arguments, requests))


@given(
    rate=st.builds(Rate, st.integers(1, 1_000_000), st.integers(1, 86_400), st.integers(1, 1000)),
    steps=st.lists(st.tuples(st.integers(-3_000_000, 100_000_000), st.integers(1, 60)), min_size=1, max_size=12),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_script_does_what_the_specification_says(
    redis_url: str, rate: Rate, steps: list[tuple[int, int]]
) -> None:
    now, arrival = 1_800_000_000_000_000, 0
    with redis.Redis.from_url(redis_url) as client:
        client.delete("bucket")
        for passes, requests in steps:
            now += passes
            terms = {"limit": rate.limit, "period": rate.period_microseconds, "burst": rate.burst}
            expected = gcra.take(arrival, now, **terms, requests=requests)
            used, passed, wait, wait_ticks = At(client, now).take(rate, requests)
            assert (used, passed, wait * rate.limit + wait_ticks) == expected[:3]
            if expected.passed:
                arrival = expected.arrival
                stored = client.get("bucket")
                assert stored is not None
                assert stored.decode() == "{}:{}".format(*divmod(arrival, rate.limit))


def test_nothing_is_rounded_in_the_clients_favour() -> None:
    """600,000 a second is an interval of 1.67 microseconds, not of one."""
    passed = arrival = 0
    for now in range(0, 1_000_000, 1000):
        taken = gcra.take(arrival, now, limit=600_000, period=1_000_000, burst=1000, requests=2000)
        arrival, passed = taken.arrival, passed + taken.passed
    assert passed <= 600_000 + 1000
