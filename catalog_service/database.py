"""A connection for one piece of work, with a bound on the whole of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from service_chassis.database.tenancy import act_for

WORK_TIMEOUT_SECONDS = 1.5
"""For the few small statements of one request. A request does two such pieces at most, and the first one finds out
when the database is away: the caller has its 500 within 3 s."""
_UNBOUNDED_WORK_ACQUIRE_SECONDS = 5.0


@asynccontextmanager
async def borrow_connection(
    pool: asyncpg.Pool, *, timeout_seconds: float | None = WORK_TIMEOUT_SECONDS
) -> AsyncIterator[asyncpg.Connection]:
    """Lend a connection. Raises TimeoutError when none is free in half the time, or the work takes longer than it.

    With None, for an operator's long work, only each statement is bounded, by the pool's own limits.
    """
    # asyncpg takes the same time again, at most, to cancel an interrupted statement before it drops the connection.
    acquire_seconds = timeout_seconds / 2 if timeout_seconds else _UNBOUNDED_WORK_ACQUIRE_SECONDS
    async with asyncio.timeout(timeout_seconds), pool.acquire(timeout=acquire_seconds) as connection:
        yield connection


@asynccontextmanager
async def begin_for(
    pool: asyncpg.Pool, client_id: str, *, timeout_seconds: float | None = WORK_TIMEOUT_SECONDS
) -> AsyncIterator[asyncpg.Connection]:
    """Lend a connection, in a transaction that sees the plans of this client and of no other."""
    async with borrow_connection(pool, timeout_seconds=timeout_seconds) as connection, connection.transaction():
        await act_for(connection, client_id)
        yield connection
