"""Background tasks: when their rounds begin."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Counter

from service_chassis import background
from service_chassis.background import BackgroundTask, run_tasks

SELDOM_SECONDS = 0.2


def make_tasks(count: int, interval_seconds: float, began: list[float]) -> list[BackgroundTask]:
    """Make tasks that note when their rounds begin."""
    rounds = Counter("rounds", "of tests", ("task", "outcome"), registry=CollectorRegistry())

    async def note() -> None:
        began.append(asyncio.get_running_loop().time())

    return [BackgroundTask("noting", note, interval_seconds=interval_seconds, rounds=rounds) for _ in range(count)]


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "SELDOM_SECONDS", SELDOM_SECONDS)


async def test_what_comes_seldom_begins_at_a_moment_of_its_own() -> None:
    began: list[float] = []
    async with run_tasks(make_tasks(20, 1000 * SELDOM_SECONDS, began)), asyncio.timeout(10):
        while len(began) < 20:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    assert max(began) - min(began) > SELDOM_SECONDS / 10


async def test_what_comes_often_begins_at_once() -> None:
    began: list[float] = []
    async with run_tasks(make_tasks(1, SELDOM_SECONDS / 2, began)):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(began) == 1


async def test_what_is_stopped_before_it_began_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "SELDOM_SECONDS", 1000.0)
    began: list[float] = []
    async with asyncio.timeout(2), run_tasks(make_tasks(20, 1000.0, began)):
        pass
    assert began == []
