"""What is counted of holds, charges and refusals."""

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from metering_service.events.watch import watch_holds
from metering_service.metrics import MeteringMetrics
from metering_service.refusals.by_client import CHOOSE_INTERVAL_SECONDS, NAMED_CLIENTS, RefusalsByClient
from metering_service.refusals.refusal import RefusalKey, Refusals
from service_chassis.application import METRICS
from service_chassis.database.pool import open_pool
from service_chassis.operations.metrics import Metrics
from tests.metering_service.conftest import Metering, event
from tests.metering_service.movable_clock import MovableClock

MOMENT = datetime(2026, 7, 1, tzinfo=UTC)
AGES = ("up to 1 s", "up to 10 s", "up to 1 min", "up to 10 min", "older")
_users = itertools.count()


def refused(client_id: str, count: int = 1, code: str = "api_rate_limited") -> Mapping[RefusalKey, Refusals]:
    key = RefusalKey(client_id, MOMENT, "plan_play.created", code, "per minute", f"user-{next(_users)}")
    receipt: Any = None
    return {key: Refusals(count, MOMENT, MOMENT, receipt, receipt, None)}


class Watched:
    """Refusals by client, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._metrics = Metrics()
        self.by_client = RefusalsByClient(MeteringMetrics(self._metrics).refusals, lambda: self.seconds)

    def count(self, client: str, code: str = "api_rate_limited") -> float | None:
        labels = {"client": client, "code": code}
        return self._metrics.registry.get_sample_value("metering_refusals_total", labels)

    def clients(self) -> set[str]:
        [family] = [each for each in self._metrics.registry.collect() if each.name == "metering_refusals"]
        return {sample.labels["client"] for sample in family.samples if sample.name.endswith("_total")}


def test_refusals_are_counted_by_client_and_code_whatever_user_they_were_of() -> None:
    watched = Watched()
    watched.by_client.add({**refused("acme", 2), **refused("acme", 3), **refused("acme", 1, "api_quota_exceeded")})
    assert (watched.count("acme"), watched.count("acme", "api_quota_exceeded")) == (5, 1)


def test_however_many_clients_are_refused_there_is_a_bounded_number_of_series() -> None:
    watched = Watched()
    for hour in range(3):
        for number in range(4 * NAMED_CLIENTS):
            watched.by_client.add(refused(f"client-{hour}-{number}"))
            assert len(watched.clients()) <= NAMED_CLIENTS + 1
        watched.seconds += CHOOSE_INTERVAL_SECONDS
    assert "other" in watched.clients()


def test_after_an_hour_the_clients_refused_most_have_the_names() -> None:
    watched = Watched()
    for number in range(NAMED_CLIENTS):
        watched.by_client.add(refused(f"client-{number}"))
    watched.by_client.add(refused("flood", 100))
    assert (watched.count("flood"), watched.count("other")) == (None, 100)
    watched.seconds += CHOOSE_INTERVAL_SECONDS
    watched.by_client.add(refused("flood", 100))
    assert (watched.count("flood"), watched.count("other")) == (100, 100), "no counter goes back"
    assert len(watched.clients()) == NAMED_CLIENTS + 1


def test_in_one_round_the_clients_refused_most_are_named_first() -> None:
    watched = Watched()
    counts = {f"client-{number}": number + 1 for number in range(2 * NAMED_CLIENTS)}
    watched.by_client.add({key: each for name, count in counts.items() for key, each in refused(name, count).items()})
    assert watched.clients() == {"other", *sorted(counts, key=lambda name: -counts[name])[:NAMED_CLIENTS]}


async def test_holds_are_counted_by_their_age_and_the_oldest_is_told(metering: Metering, clock: MovableClock) -> None:
    async def look() -> dict[str, float]:
        metrics = MeteringMetrics(seen := Metrics())
        async with open_pool(metering.dsn, size=1, application_name="test") as pool:
            await watch_holds(pool, metrics)
        found = {age: seen.registry.get_sample_value("metering_holds", {"age": age}) or 0 for age in AGES}
        oldest = seen.registry.get_sample_value("metering_oldest_hold_seconds")
        return {**{age: count for age, count in found.items() if count}, "oldest": oldest or 0}

    assert await look() == {"oldest": 0}
    await metering.authorize(event(), event())
    clock.advance(seconds=30)
    settled = event()
    await metering.authorize(event(), settled)
    await metering.settle_by_ids(settled)
    assert await look() == {"up to 1 min": 2, "up to 1 s": 1, "oldest": 30}
    clock.advance(hours=1)
    assert await look() == {"older": 3, "oldest": 3630}


async def test_credits_that_are_charged_are_counted_once(acme: Metering) -> None:
    registry = acme.clients[0].app[METRICS].registry
    await acme.give("acme", grant=10, prices={"*": 3}, credits="prepaid")
    attempt = event()
    await acme.authorize(attempt)
    for _ in range(2):
        await acme.settle_by_ids(attempt)
    assert registry.get_sample_value("metering_credits_charged_total") == 3
    assert registry.get_sample_value("metering_charged_total", {"late": "true"}) == 0
