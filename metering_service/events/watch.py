"""How old the holds are that nobody has settled or released."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

import asyncpg

from metering_service.events.event_store import EventStore
from metering_service.metrics import MeteringMetrics

WATCH_INTERVAL_SECONDS = 10.0
MAX_WATCHED_HOLDS = 10_000
"""So many rows at most are read each time, the oldest ones; the young are under way and no trouble."""
_BOUNDS_SECONDS = (1, 10, 60, 600)
_AGES = ("up to 1 s", "up to 10 s", "up to 1 min", "up to 10 min", "older")


def count_by_age(ages: Iterable[float]) -> dict[str, int]:
    """Return how many holds there are of each age, in words, the youngest first; `ages` in seconds."""
    counts = Counter(bisect_left(_BOUNDS_SECONDS, age) for age in ages)
    return {age: counts[number] for number, age in enumerate(_AGES)}


async def watch_holds(pool: asyncpg.Pool, metrics: MeteringMetrics) -> None:
    """Count live holds by age into a gauge; every process those of the whole database."""
    ages = await EventStore(pool).list_ages(MAX_WATCHED_HOLDS)
    for age, holds in count_by_age(ages).items():
        metrics.holds.labels(age).set(holds)
    metrics.oldest_hold.set(max(ages, default=0.0))
