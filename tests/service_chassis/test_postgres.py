"""Pools: first come, first served, and no wait without a bound."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from service_chassis.database.pool import create_pool

CALLERS, CONNECTIONS, ROUNDS = 40, 2, 50


@pytest.fixture
async def pool(empty_database: Callable[[], str]) -> asyncpg.Pool:
    pool = await create_pool(empty_database(), size=CONNECTIONS, application_name="test")
    yield pool
    await pool.close()


async def test_nobody_is_passed_by_those_who_come_again(pool: asyncpg.Pool) -> None:
    lent = 0

    async def come_again() -> int:
        """Answer how many others were served during this caller's longest wait."""
        nonlocal lent
        longest = 0
        for _ in range(ROUNDS):
            before = lent
            async with pool.acquire(timeout=10) as connection:
                longest = max(longest, lent - before)
                lent += 1
                await connection.fetchval("SELECT 1")
        return longest

    assert max(await asyncio.gather(*[come_again() for _ in range(CALLERS)])) <= CALLERS


async def test_a_turn_that_does_not_come_is_a_timeout_and_costs_no_connection(pool: asyncpg.Pool) -> None:
    async with pool.acquire(timeout=1), pool.acquire(timeout=1):
        for _ in range(CONNECTIONS + 1):
            with pytest.raises(TimeoutError):
                async with pool.acquire(timeout=0.01):
                    pass
    async with pool.acquire(timeout=1), pool.acquire(timeout=1) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_database_that_is_away_costs_no_turn() -> None:
    nowhere = await create_pool("postgresql://nobody@127.0.0.1:1/none", size=1, application_name="test")
    for _ in range(3):
        with pytest.raises(OSError):  # noqa: PT011 - of whatever kind, but no timeout
            async with nowhere.acquire(timeout=5):
                pass
