"""Live holds in PostgreSQL, counted by age."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

MOST_COUNTED = 10_000
"""Of an age: what is more is a fault anyway, whose size another tool tells."""


@dataclass(frozen=True, slots=True)
class HeldOfAge:
    """How many holds, MOST_COUNTED at most, are of one age at least and below another, None for any."""

    older_than: timedelta
    up_to: timedelta | None
    holds: int


class HealthStore:
    """The table `hold` as it is looked at by age, through one connection that the caller holds. Writes nothing."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    # By the index hold_by_age.
    _COUNT_HELD = f"""
        SELECT count(*) FROM (
            SELECT FROM hold WHERE held_at IS NOT NULL AND held_at <= utc_now() - $1::interval
              AND held_at > utc_now() - $2::interval LIMIT {MOST_COUNTED}) AS counted
    """
    _ANY_AGE = timedelta(days=36_500)

    async def count_held(self, ages: Sequence[timedelta]) -> list[HeldOfAge]:
        """Return how many holds there are between each age and the next."""
        return [
            HeldOfAge(age, up_to, await self._connection.fetchval(self._COUNT_HELD, age, up_to or self._ANY_AGE))
            for age, up_to in zip(ages, (*ages[1:], None), strict=True)
        ]
