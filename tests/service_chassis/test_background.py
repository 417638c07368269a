"""Background tasks: when their rounds begin."""

import asyncio

from prometheus_client import CollectorRegistry, Counter

from service_chassis.background import BackgroundTask, run_tasks


def make_tasks(count: int, begins_within_seconds: float, began: list[float]) -> list[BackgroundTask]:
    """Make tasks that note when their rounds begin, which is once a day."""
    rounds = Counter("rounds", "of tests", ("task", "outcome"), registry=CollectorRegistry())

    async def note() -> None:
        began.append(asyncio.get_running_loop().time())

    times = {"interval_seconds": 86_400.0, "begins_within_seconds": begins_within_seconds}
    return [BackgroundTask("noting", note, **times, rounds=rounds) for _ in range(count)]


async def test_seldom_work_begins_at_a_moment_of_its_own() -> None:
    began: list[float] = []
    async with run_tasks(make_tasks(20, 0.2, began)), asyncio.timeout(10):
        while len(began) < 20:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    assert max(began) - min(began) > 0.02


async def test_all_else_begins_at_once() -> None:
    began: list[float] = []
    async with run_tasks(make_tasks(1, 0, began)):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(began) == 1


async def test_what_is_stopped_before_it_began_never_begins() -> None:
    began: list[float] = []
    async with asyncio.timeout(2), run_tasks(make_tasks(20, 1000, began)):
        pass
    assert began == []
