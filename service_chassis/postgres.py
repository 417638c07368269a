"""PostgreSQL pools with every wait bounded."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

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
    return await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=size,
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


@asynccontextmanager
async def open_snapshot(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    """Lend a connection in a read-only transaction whose every statement sees the same moment."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        yield connection


async def check_postgres(pool: asyncpg.Pool) -> None:
    """Raise unless the database answers."""
    async with pool.acquire(timeout=1) as connection:
        await connection.fetchval("SELECT 1")
