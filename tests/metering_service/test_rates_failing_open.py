"""Request rates on servers that go away, change, or take no writes; and what is told of it."""

import asyncio
import time
from typing import Any

import pytest
import redis
import structlog

from metering_service.policies.policy import Rate
from metering_service.rates import connections as connections_module
from metering_service.rates.connections import KeptConnections
from service_chassis.operations.metrics import Metrics
from tests.metering_service.rates import StartLimiter, ask, version_of


def failing_since(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("metering_rates_failing_open_since_seconds") or 0.0


async def wait_until_checked(metrics: Metrics) -> None:
    async with asyncio.timeout(10):
        while failing_since(metrics):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)


class ReplicaOfNobody:
    """The server at a URL, demoted: it refuses writes, and without its stale data everything."""

    def __init__(self, url: str, *, serves_stale_data: bool) -> None:
        self._client: Any = redis.Redis.from_url(url)
        self._serves = "yes" if serves_stale_data else "no"

    def __enter__(self) -> Any:
        self._client.config_set("replica-serve-stale-data", self._serves)
        self._client.execute_command("REPLICAOF", "127.0.0.1", "1")
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.execute_command("REPLICAOF", "NO", "ONE")
        self._client.config_set("replica-serve-stale-data", "yes")
        self._client.close()


class CountedOpenings:
    """Counts how often the limiter tries to open a connection, so that a test can wait for some tries."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._tries = 0
        self._tried = asyncio.Condition()
        original = KeptConnections._open

        async def counted(connections: KeptConnections) -> Any:
            async with self._tried:
                self._tries += 1
                self._tried.notify_all()
            return await original(connections)

        monkeypatch.setattr(KeptConnections, "_open", counted)
        monkeypatch.setattr(connections_module, "RECONNECT_PAUSE_SECONDS", 0.02)

    async def wait(self, more: int) -> None:
        async with asyncio.timeout(10), self._tried:
            wanted = self._tries + more
            await self._tried.wait_for(lambda: self._tries >= wanted)


async def test_silent_server_costs_its_timeout_once_and_rates_fail_open_until_it_speaks(
    redis_url: str, start_limiter: StartLimiter
) -> None:
    metrics = Metrics()
    rates = await start_limiter(timeout_seconds=0.1, metrics=metrics)
    version = version_of(Rate("r", limit=1, period_seconds=60, burst=1))
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("CLIENT", "PAUSE", 1500, "ALL")
        began = time.monotonic()
        outcomes = [outcome for _ in range(4) for outcome in await rates.take([ask("acme", version)])]
        took = time.monotonic() - began
        client.execute_command("CLIENT", "UNPAUSE")
    assert [outcome.wait_seconds for outcome in outcomes] == [0] * 4
    assert took < 1.0
    assert b"metering_rate_open_total 4.0" in metrics.render()
    assert failing_since(metrics) > time.time() - 60
    await wait_until_checked(metrics)
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


@pytest.mark.parametrize(
    ("serves_stale_data", "fault"),
    [(True, "ReadOnlyError"), (False, "MasterDownError")],
    ids=["replica", "no master"],
)
async def test_while_a_server_takes_no_writes_rates_fail_open_without_a_break_and_one_line_says_so(
    redis_url: str, start_limiter: StartLimiter, monkeypatch: pytest.MonkeyPatch, serves_stale_data: bool, fault: str
) -> None:
    metrics = Metrics()
    rates = await start_limiter(metrics=metrics)
    openings = CountedOpenings(monkeypatch)
    version = version_of(Rate("r", limit=1, period_seconds=3600, burst=1))
    with structlog.testing.capture_logs() as logs:
        with ReplicaOfNobody(redis_url, serves_stale_data=serves_stale_data):
            await rates.take([ask("acme", version)])
            began = failing_since(metrics)
            for _ in range(3):
                await openings.wait(2)
                await rates.take([ask("acme", version)])
                assert failing_since(metrics) == began
        assert [(each["event"], each["fault"]) for each in logs] == [("rates_fail_open", fault)]
        await wait_until_checked(metrics)
    assert [each["event"] for each in logs] == ["rates_fail_open", "rates_checked_again"]
    assert [outcome.wait_seconds > 0 for outcome in await rates.take([ask("acme", version)] * 2)] == [False, True]


async def test_another_reason_is_told_once_while_rates_fail_open(
    redis_url: str, start_limiter: StartLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    rates = await start_limiter(metrics=metrics)
    openings = CountedOpenings(monkeypatch)
    with structlog.testing.capture_logs() as logs:
        with ReplicaOfNobody(redis_url, serves_stale_data=True) as client:
            await rates.take([ask("acme", version_of(Rate("r", 1, 1, 1)))])
            for serves in ("no", "yes", "no"):
                client.config_set("replica-serve-stale-data", serves)
                await openings.wait(3)
        await wait_until_checked(metrics)
    told = [each["fault"] for each in logs if each["event"] == "rates_fail_open"]
    assert told == ["ReadOnlyError", "MasterDownError"]


async def test_rates_are_checked_again_while_requests_keep_a_connection_in_use(
    redis_url: str, start_limiter: StartLimiter
) -> None:
    metrics = Metrics()
    rates = await start_limiter(metrics=metrics)
    version = version_of(Rate("r", 1, 1, 1))
    connections = rates._server
    assert isinstance(connections, KeptConnections)
    held = connections._idle.pop()  # as a request under way does
    with ReplicaOfNobody(redis_url, serves_stale_data=True):
        await rates.take([ask("acme", version)])
        assert failing_since(metrics)
    await wait_until_checked(metrics)
    connections._idle.append(held)


async def test_a_name_that_is_not_found_costs_no_request_anything(start_limiter: StartLimiter) -> None:
    rates = await start_limiter(url="redis://no-such-host.invalid:6379/0", timeout_seconds=0.1)
    began = time.monotonic()
    for _ in range(20):
        await rates.take([ask("acme", version_of(Rate("r", 1, 1, 1)))])
    assert time.monotonic() - began < 0.1
