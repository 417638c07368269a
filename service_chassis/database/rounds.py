"""Deleting many rows in rounds, between which others are served."""

from collections.abc import Awaitable, Callable

import asyncpg


async def delete_in_rounds(
    pool: asyncpg.Pool, delete: Callable[[asyncpg.Connection, int], Awaitable[int]], rows_a_round: int
) -> None:
    """Call `delete`, which deletes up to so many rows and returns how many it were, until there are no more.

    With a connection for each round, so that whoever waits for one comes in between.
    """
    deleted = rows_a_round
    while deleted >= rows_a_round:
        async with pool.acquire() as connection:
            deleted = await delete(connection, rows_a_round)
