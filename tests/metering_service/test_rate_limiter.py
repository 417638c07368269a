"""Request rates on a real server, and servers that go away or change."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import redis

from metering_service.metrics import MeteringMetrics
from metering_service.policies.policy import Policy, PolicyVersion, Rate
from metering_service.rates.limiter import RateLimiter, Request, rate_key
from service_chassis.clock import system_clock
from service_chassis.operations.metrics import Metrics

StartLimiter = Callable[..., Awaitable[RateLimiter]]


def version_of(*rates: Rate, number: int = 1) -> PolicyVersion:
    now = system_clock()
    return PolicyVersion("p", number, Policy(rates, (), {"*": 0}, "unlimited", "enforce"), now, now)


def ask(client_id: str, version: PolicyVersion, user_id: str | None = None, event_type: str = "t") -> Request:
    return Request(client_id, user_id, event_type, version)


def bucket_of(version: PolicyVersion) -> str:
    return rate_key(ask("acme", version), version.policy.rates[0])


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
    version = version_of(Rate("r", limit=2, period_seconds=60, burst=3))
    outcomes = await rates.take([ask("acme", version)] * 6)
    assert [outcome.used_before for outcome in outcomes] == [[0], [1], [2], [3], [3], [3]]
    assert [outcome.wait_seconds for outcome in outcomes] == [0, 0, 0, 30, 60, 90]


async def test_wait_is_true_to_the_second(redis_url: str, start_limiter: StartLimiter) -> None:
    rates = await start_limiter()
    version = version_of(Rate("r", limit=1, period_seconds=100, burst=1))
    await rates.take([ask("acme", version)])
    [refused] = await rates.take([ask("acme", version)])
    # Time passes for the bucket when its arrival time moves back.
    with redis.Redis.from_url(redis_url) as client:
        key = bucket_of(version)

        def advance(by_seconds: int) -> None:
            micros, _, ticks = (client.get(key) or b"0:0").decode().partition(":")
            client.set(key, f"{int(micros) - by_seconds * 1_000_000}:{ticks}")

        advance(refused.wait_seconds - 1)
        [early] = await rates.take([ask("acme", version)])
        advance(1)
        [on_time] = await rates.take([ask("acme", version)])
    assert early.wait_seconds > 0
    assert on_time.wait_seconds == 0


async def test_requests_of_one_batch_get_places_in_order_whoever_stands_between_them(
    start_limiter: StartLimiter,
) -> None:
    rates = await start_limiter()
    version = version_of(Rate("r", limit=1, period_seconds=3600, burst=3))
    await rates.take([ask("one", version)])
    outcomes = await rates.take(
        [
            ask("one", version),
            ask("two", version),
            ask("free", version_of()),
            ask("one", version),
            ask("one", version),
        ]
    )
    assert [outcome.used_before for outcome in outcomes] == [[1], [0], None, [2], [3]]
    assert [outcome.wait_seconds > 0 for outcome in outcomes] == [False] * 4 + [True]


async def test_clients_and_policy_versions_have_buckets_of_their_own(start_limiter: StartLimiter) -> None:
    rates = await start_limiter()
    rate = Rate("r", limit=1, period_seconds=60, burst=1)
    outcomes = await rates.take(
        [
            ask("one", version_of(rate)),
            ask("two", version_of(rate)),
            ask("one", version_of(rate, number=2)),
            ask("one", version_of(rate)),
        ]
    )
    assert [outcome.wait_seconds > 0 for outcome in outcomes] == [False, False, False, True]


async def test_buckets_expire_when_they_are_full_again(redis_url: str, start_limiter: StartLimiter) -> None:
    rates = await start_limiter()
    version = version_of(Rate("r", limit=60, period_seconds=60, burst=100))
    await rates.take([ask("acme", version)] * 10)
    with redis.Redis.from_url(redis_url) as client:
        assert 9_000 < int(client.pttl(bucket_of(version))) <= 11_000


async def test_a_bucket_from_the_future_is_no_fuller_than_full(redis_url: str, start_limiter: StartLimiter) -> None:
    """The server's clock was ahead and was set back: what the policy allows bounds the wait."""
    rates = await start_limiter()
    version = version_of(Rate("r", limit=1, period_seconds=10, burst=3))
    with redis.Redis.from_url(redis_url) as client:
        client.set(bucket_of(version), f"{int((time.time() + 3600) * 1_000_000)}:0")
    [refused] = await rates.take([ask("acme", version)])
    assert refused.wait_seconds == 10


async def test_silent_server_costs_its_timeout_once_and_rates_fail_open_until_it_speaks(
    redis_url: str, start_limiter: StartLimiter
) -> None:
    metrics = Metrics()
    rates = await start_limiter(timeout_seconds=0.1, metrics=metrics)
    version = version_of(Rate("r", limit=1, period_seconds=60, burst=1))

    def since() -> float:
        return metrics.registry.get_sample_value("metering_rates_failing_open_since_seconds") or 0.0

    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("CLIENT", "PAUSE", 1500, "ALL")
        began = time.monotonic()
        outcomes = [outcome for _ in range(4) for outcome in await rates.take([ask("acme", version)])]
        took = time.monotonic() - began
        client.execute_command("CLIENT", "UNPAUSE")
    assert [outcome.wait_seconds for outcome in outcomes] == [0] * 4
    assert took < 1.0
    assert b"metering_rate_open_total 4.0" in metrics.render()
    assert since() > time.time() - 60
    async with asyncio.timeout(10):
        while since():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    assert sum(outcome.wait_seconds > 0 for outcome in await rates.take([ask("acme", version)] * 3)) >= 2


async def test_a_demoted_server_is_left_for_the_one_that_takes_its_name(
    redis_url: str, start_limiter: StartLimiter
) -> None:
    rates = await start_limiter()
    version = version_of(Rate("r", limit=1, period_seconds=3600, burst=1))
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            outcomes = await rates.take([ask("acme", version)] * 2)
        finally:
            client.execute_command("REPLICAOF", "NO", "ONE")
        assert [outcome.wait_seconds for outcome in outcomes] == [0, 0]
    async with asyncio.timeout(10):
        while not any(outcome.wait_seconds for outcome in await rates.take([ask("acme", version)] * 2)):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)


async def test_a_name_that_is_not_found_costs_no_request_anything(start_limiter: StartLimiter) -> None:
    rates = await start_limiter(url="redis://no-such-host.invalid:6379/0", timeout_seconds=0.1)
    began = time.monotonic()
    for _ in range(20):
        await rates.take([ask("acme", version_of(Rate("r", 1, 1, 1)))])
    assert time.monotonic() - began < 0.1


async def test_a_request_takes_a_place_in_all_of_its_rates_or_in_none(start_limiter: StartLimiter) -> None:
    rates = await start_limiter()
    version = version_of(
        Rate("all", limit=1, period_seconds=60, burst=4),
        Rate("each", limit=1, period_seconds=100, burst=1, per="user"),
        Rate("tokens", limit=1, period_seconds=10, burst=1, event_types=("llm.tokens",)),
    )
    ann, bob = ask("acme", version, "ann"), ask("acme", version, "bob")
    outcomes = await rates.take([ann, ann, ann, bob, ask("acme", version, event_type="llm.tokens")])
    assert [outcome.wait_seconds for outcome in outcomes] == [0, 100, 200, 0, 0]
    # Who was refused by one rate has used nothing of the other.
    assert [outcome.used_before for outcome in outcomes] == [[0, 0], [1, 1], [1, 1], [1, 0], [2, 0, 0]]
    [last, beyond] = await rates.take([ask("acme", version, "eve"), ask("acme", version, "zoe")])
    assert (last.wait_seconds, beyond.wait_seconds) == (0, 60)
    assert beyond.used_before == [4, 0]


async def test_asking_takes_nothing(start_limiter: StartLimiter) -> None:
    rates = await start_limiter()
    version = version_of(Rate("r", limit=1, period_seconds=60, burst=2))
    for _ in range(2):
        outcomes = await rates.take([ask("acme", version)] * 3, is_dry=True)
        assert [outcome.wait_seconds for outcome in outcomes] == [0, 0, 60]


def test_a_bucket_is_named_without_the_user() -> None:
    version = version_of(Rate("r", 1, 1, 1, per="user"))
    names = {rate_key(ask("acme", version, user), version.policy.rates[0]) for user in ("ann", "bob", None)}
    assert len(names) == 3
    assert not any("ann" in name for name in names)
