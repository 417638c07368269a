"""Request rates on a real server."""

import time

import redis

from metering_service.policies.policy import Rate
from metering_service.rates.limiter import rate_key
from tests.metering_service.rates import StartLimiter, ask, bucket_of, version_of


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
