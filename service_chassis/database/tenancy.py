"""The second isolation between clients: PostgreSQL's row-level security, told with each transaction who is asking.

The first is every statement naming its client. Should one forget to, the database shows it nothing: the
policies (migrations `..._row_security.sql`) let a row through only for the client in the setting `app.client_id`,
which lasts for one transaction, or for a connection that was opened for all clients on purpose. A setting does not
protect against injected SQL, which could set it; against that there are only parameters.

`act_for` (sql/act_for.sql), which sets it, refuses where the policies would not apply: to an owner, a superuser,
or a session for all clients. So it is asked in the very transaction, whichever session that has.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg

ALL_CLIENTS: Mapping[str, str] = {"app.all_clients": "on"}
"""Server settings of connections for work that serves nobody in particular: shared batches, relays, audits."""

CALLER = "(SELECT act_for($1) AS client_id OFFSET 0) AS caller"
"""A source of one row for statements that are a transaction of their own, at no extra round trip; `$1` is the client.

Only in this shape: `FROM {CALLER} CROSS JOIN LATERAL (SELECT ... WHERE client_id = caller.client_id ...)`. The inner
query depends on the row, so no plan can begin it before the client is set; beside a CTE or in an UPDATE nothing
fixes that order, and what comes too early finds nothing.
"""

_ACT_FOR = "SELECT act_for($1)"
LIST_CLOSED = """
    SELECT polrelid::regclass::text AS name FROM pg_policy
    WHERE polname = 'one_client' AND pg_table_is_visible(polrelid)
        AND NOT (has_table_privilege(polrelid, 'SELECT') AND has_table_privilege(polrelid, 'INSERT'))
    ORDER BY 1
"""
"""Tables of clients that the session may not use: somebody revoked it, or restored them without their rights."""


async def act_for(connection: asyncpg.Connection, client_id: str) -> None:
    """Let the rest of the present transaction see the rows of `client_id`, and no others."""
    await connection.execute(_ACT_FOR, client_id)


@asynccontextmanager
async def begin_for(pool: asyncpg.Pool, client_id: str) -> AsyncIterator[asyncpg.Connection]:
    """Lend a connection, in a transaction that sees the rows of this client and of no other."""
    async with pool.acquire(client_id=client_id) as connection, connection.transaction():
        await act_for(connection, client_id)
        yield connection


async def check_row_security(pool: asyncpg.Pool) -> None:
    """Raise unless row-level security holds a session of `pool` to one client, and lets it at that one's rows."""
    async with pool.acquire(timeout=1) as connection:
        await act_for(connection, "")
        if closed := [row["name"] for row in await connection.fetch(LIST_CLOSED)]:
            raise RuntimeError(f"no right to use {', '.join(closed)}")
