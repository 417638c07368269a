"""Request rates on a cluster of three real primaries: whose slots move, and which lose one."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import structlog
from redis.crc import key_slot

from metering_service.policies.policy import PolicyVersion, Rate
from metering_service.rates.limiter import RateLimiter, rate_key
from service_chassis.operations.metrics import Metrics
from tests.metering_service.rates import StartLimiter, ask, version_of
from tests.metering_service.test_rates_failing_open import wait_until_checked
from tests.metering_service.valkey_cluster import ValkeyCluster

pytestmark = pytest.mark.system

ONE = version_of(Rate("r", limit=1, period_seconds=3600, burst=5))
TWO = version_of(
    Rate("all", limit=1, period_seconds=3600, burst=5),
    Rate("each", limit=1, period_seconds=3600, burst=4, per="user"),
)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ValkeyCluster]:
    made = ValkeyCluster(tmp_path, primaries=3)
    yield made
    made.stop()


def slot_of(client_id: str, version: PolicyVersion = ONE) -> int:
    return key_slot(rate_key(ask(client_id, version), version.policy.rates[0]).encode())


def clients_of_each(cluster: ValkeyCluster) -> list[str]:
    """Return a client of each primary, in order."""
    found: dict[int, str] = {}
    for n in range(1000):
        found.setdefault(cluster.owner(f"{{client{n}}}"), f"client{n}")
        if len(found) == 3:
            break
    return [found[number] for number in range(3)]


def unchecked(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("metering_rate_open_total") or 0.0


async def passes(rates: RateLimiter, version: PolicyVersion, clients: Sequence[str]) -> Counter[str]:
    """Return how many of one request each passed."""
    outcomes = await rates.take([ask(client, version) for client in clients])
    return Counter(client for client, outcome in zip(clients, outcomes, strict=True) if not outcome.wait_seconds)


async def under_load(
    rates: RateLimiter, version: PolicyVersion, clients: Sequence[str], work: Callable[[], None]
) -> tuple[Counter[str], int]:
    """Take places without a pause, two batches at a time, while `work` is done; return passes and batches."""
    passed: Counter[str] = Counter()
    batches = 0
    working = asyncio.create_task(asyncio.to_thread(work))

    async def load() -> None:
        nonlocal batches
        while not working.done() or batches < 20:
            passed.update(await passes(rates, version, clients))
            batches += 1

    await asyncio.gather(load(), load())
    await working
    return passed, batches


async def test_clients_of_one_batch_are_counted_each_on_its_own_node(
    cluster: ValkeyCluster, start_limiter: StartLimiter
) -> None:
    metrics = Metrics()
    rates = await start_limiter(url=cluster.servers[1].url, metrics=metrics)
    clients = clients_of_each(cluster)
    outcomes = await rates.take([ask(client, TWO, "ann") for client in clients * 5])
    assert [outcome.wait_seconds > 0 for outcome in outcomes] == [False] * 12 + [True] * 3
    assert [outcome.used_before for outcome in outcomes[::3]] == [[n, n] for n in range(5)]
    assert [client.dbsize() for client in cluster.clients] == [2, 2, 2]
    assert unchecked(metrics) == 0


async def test_a_client_whose_name_begins_with_a_brace_has_all_its_buckets_in_one_slot(
    cluster: ValkeyCluster, start_limiter: StartLimiter
) -> None:
    metrics = Metrics()
    rates = await start_limiter(url=cluster.servers[0].url, metrics=metrics)
    for client in ("}", "}acme", "{}", "a}b"):
        outcomes = await rates.take([ask(client, TWO, "ann")] * 5)
        assert [outcome.wait_seconds > 0 for outcome in outcomes] == [False] * 4 + [True]
    assert unchecked(metrics) == 0


async def test_slots_that_move_key_by_key_under_load_let_no_request_too_many_through(
    cluster: ValkeyCluster, start_limiter: StartLimiter
) -> None:
    """To a primary that had none, so that nobody is connected with it."""
    metrics = Metrics()
    rates = await start_limiter(url=cluster.servers[0].url, metrics=metrics)
    clients = [f"client{n}" for n in range(40)]
    target = cluster.add_empty_primary()

    def reshard() -> None:
        for client in clients:
            if (source := cluster.owner(f"{{{client}}}")) != target:
                cluster.move(slot_of(client), source, target)

    passed, batches = await under_load(rates, ONE, clients, reshard)
    assert passed == dict.fromkeys(clients, 5)
    assert batches >= 20
    assert unchecked(metrics) == 0
    assert cluster.clients[target].dbsize() == 40


async def test_slots_that_move_at_once_under_load_let_no_request_of_several_rates_too_many_through(
    cluster: ValkeyCluster, start_limiter: StartLimiter
) -> None:
    metrics = Metrics()
    rates = await start_limiter(url=cluster.servers[0].url, metrics=metrics)
    clients = [f"client{n}" for n in range(40)]

    def reshard() -> None:
        cluster.move_at_once((0, 5460), 0, 1)
        cluster.move_at_once((10_923, 16_383), 2, 1)

    passed, _ = await under_load(rates, TWO, clients, reshard)
    assert passed == dict.fromkeys(clients, 4)
    assert unchecked(metrics) == 0
    assert cluster.clients[1].dbsize() == 80


async def test_a_client_of_several_rates_passes_unchecked_while_its_slot_moves_key_by_key_and_no_longer(
    cluster: ValkeyCluster, start_limiter: StartLimiter
) -> None:
    metrics = Metrics()
    rates = await start_limiter(url=cluster.servers[0].url, timeout_seconds=0.5, metrics=metrics)
    client, other, _ = clients_of_each(cluster)
    assert len([await rates.take([ask(client, TWO, "ann")]) for _ in range(4)]) == 4
    slot = slot_of(client)
    with structlog.testing.capture_logs() as logs:
        cluster.begin_to_move(slot, 0, 1)
        # What is there whole is still counted; of a new user one bucket of two would be here and one there.
        [known] = await rates.take([ask(client, TWO, "ann")])
        assert known.wait_seconds > 0
        began = time.monotonic()
        torn, beside = await rates.take([ask(client, TWO, "bob"), ask(other, TWO, "bob")])
        assert time.monotonic() - began < 1
        assert (torn.used_before, beside.used_before) == (None, [0, 0])
        assert unchecked(metrics) == 1
        cluster.move_keys(slot, 0, 1)
        cluster.end_move(slot, 0, 1)
        await wait_until_checked(metrics)
    assert [(each["event"], each.get("fault")) for each in logs] == [
        ("rates_fail_open", "TryAgainError"),
        ("rates_checked_again", None),
    ]
    [last, beyond] = await rates.take([ask(client, TWO, "bob")] * 2)
    assert (last.used_before, beyond.wait_seconds > 0) == ([4, 0], True)


async def test_a_primary_that_is_killed_costs_its_own_clients_their_rates_until_its_replica_is_promoted(
    cluster: ValkeyCluster, start_limiter: StartLimiter
) -> None:
    metrics = Metrics()
    replica = cluster.add_replica(0)
    rates = await start_limiter(url=cluster.servers[0].url, timeout_seconds=0.5, metrics=metrics)
    clients = clients_of_each(cluster)
    for _ in range(5):
        await passes(rates, ONE, clients)
    cluster.clients[0].execute_command("WAIT", 1, 1000)
    cluster.kill(0)
    assert await passes(rates, ONE, clients) == {clients[0]: 1}
    await asyncio.to_thread(cluster.wait_until_promoted, replica)
    promoted = time.monotonic()
    await wait_until_checked(metrics)
    assert time.monotonic() - promoted < 5
    assert await passes(rates, ONE, clients) == {}


async def test_a_silent_node_costs_its_timeout_once_and_no_other_node_anything(
    cluster: ValkeyCluster, start_limiter: StartLimiter
) -> None:
    metrics = Metrics()
    rates = await start_limiter(url=cluster.servers[0].url, timeout_seconds=0.3, metrics=metrics)
    clients = clients_of_each(cluster)
    for _ in range(5):
        await passes(rates, ONE, clients)
    os.kill(cluster.servers[2].process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        for _ in range(6):  # more than connections
            assert await passes(rates, ONE, clients) == {clients[2]: 1}
        assert time.monotonic() - began < 1.2
    finally:
        os.kill(cluster.servers[2].process.pid, signal.SIGCONT)
    await wait_until_checked(metrics)
    assert await passes(rates, ONE, clients) == {}


async def test_a_node_that_forgot_the_script_is_sent_it_in_the_same_request(
    cluster: ValkeyCluster, start_limiter: StartLimiter
) -> None:
    metrics = Metrics()
    rates = await start_limiter(url=cluster.servers[0].url, metrics=metrics)
    for client in cluster.clients:
        client.script_flush()
    clients = clients_of_each(cluster)
    assert await passes(rates, ONE, clients) == dict.fromkeys(clients, 1)
    assert unchecked(metrics) == 0


async def test_a_cluster_that_is_away_at_the_start_is_used_once_it_is_there(
    cluster: ValkeyCluster, start_limiter: StartLimiter
) -> None:
    metrics = Metrics()
    pids = [server.process.pid for server in cluster.servers]
    clients = clients_of_each(cluster)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    rates = await start_limiter(url=cluster.servers[0].url, timeout_seconds=0.5, metrics=metrics)
    assert await passes(rates, ONE, clients) == dict.fromkeys(clients, 1)
    assert unchecked(metrics) == 3
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    await wait_until_checked(metrics)
    for _ in range(5):
        assert await passes(rates, ONE, clients) == dict.fromkeys(clients, 1)
    assert await passes(rates, ONE, clients) == {}
