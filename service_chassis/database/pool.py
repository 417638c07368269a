"""PostgreSQL pools with every wait bounded."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg

CONNECT_TIMEOUT_SECONDS = 2.0
COMMAND_TIMEOUT_SECONDS = 5.0
"""The client's own bound on one statement; the server's are a little shorter, so that it ends the work itself."""

_SERVER_SETTINGS = {
    "statement_timeout": "4000",
    "lock_timeout": "3000",
    "idle_in_transaction_session_timeout": "10000",
    "synchronous_commit": "on",
    "timezone": "UTC",
    # Statements here are small and prepared once: compiling them costs more than it saves.
    "jit": "off",
}


UNHURRIED: Mapping[str, str] = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
"""Server settings of a connection for an operator's long work, whose every statement its caller bounds."""
OPERATOR_TIMEOUT_SECONDS = 600.0
"""For a statement that looks for one user in tables without an index for it."""

_MAX_QUERIES = 50_000
_MAX_IDLE_SECONDS = 300.0
"""After so many statements, or so long unused, a connection is replaced: asyncpg's own figures."""


class FairPool(asyncpg.Pool):  # type: ignore[misc]  # asyncpg has no types
    """asyncpg's pool, first come, first served.

    asyncpg hands a connection that comes free to whoever asks at that moment, and sends the one that it was meant for
    to the end of the line: with all connections in use some wait for seconds while most wait for milliseconds.
    """

    def __init__(self, *arguments: Any, max_size: int, **options: Any) -> None:
        super().__init__(*arguments, max_size=max_size, **options)
        self._turns = asyncio.Semaphore(max_size)

    def acquire(self, *, timeout: float | None = None) -> "_Turn":
        """Lend a connection within `timeout` seconds, twice that where one has to be opened. Raises TimeoutError."""
        return _Turn(self._turns, super().acquire(timeout=timeout), timeout)


class _Turn:
    """One use of a connection, once it is its turn."""

    __slots__ = ("_lent", "_timeout_seconds", "_turns")

    def __init__(
        self, turns: asyncio.Semaphore, lent: AbstractAsyncContextManager[asyncpg.Connection], timeout: float | None
    ) -> None:
        self._turns = turns
        self._lent = lent
        self._timeout_seconds = timeout

    async def __aenter__(self) -> asyncpg.Connection:
        if self._turns.locked():
            async with asyncio.timeout(self._timeout_seconds):
                await self._turns.acquire()
        else:
            await self._turns.acquire()
        try:
            return await self._lent.__aenter__()
        except BaseException:
            self._turns.release()
            raise

    async def __aexit__(self, *fault: Any) -> None:
        try:
            await self._lent.__aexit__(*fault)
        finally:
            self._turns.release()


async def create_pool(
    dsn: str,
    *,
    size: int,
    application_name: str,
    settings: Mapping[str, str] | None = None,
    role: str = "",
) -> asyncpg.Pool:
    """Make a pool of up to `size` connections; none is opened yet, so a service starts while its database is down.

    Statements end after 4 s, lock waits after 3 s, idle transactions after 10 s, on the server's side,
    unless `settings`, the server's own parameters by name, say otherwise.
    With a `role`, each connection acts as that one instead of the one that it logs in as.
    Acquire with a timeout: `pool.acquire(timeout=...)`.
    """
    return await FairPool(
        dsn,
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
        loop=None,
        min_size=0,
        max_size=size,
        max_queries=_MAX_QUERIES,
        max_inactive_connection_lifetime=_MAX_IDLE_SECONDS,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        server_settings={
            **_SERVER_SETTINGS,
            "application_name": application_name,
            **({"role": role} if role else {}),
            **(settings or {}),
        },
        reset=_keep_session,
    )


async def _keep_session(_: asyncpg.Connection) -> None:
    """Save asyncpg's reset query, a round trip per use: no statement here leaves state in its session."""


def count_changed(status: str) -> int:
    """Answer how many rows a statement changed, from what `execute` answered about it."""
    return int(status.rpartition(" ")[2])


@asynccontextmanager
async def open_snapshot(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    """Lend a connection in a read-only transaction whose every statement sees the same moment."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        yield connection


async def check_postgres(pool: asyncpg.Pool) -> None:
    """Raise unless the database answers."""
    async with pool.acquire(timeout=1) as connection:
        await connection.fetchval("SELECT 1")
