"""Look at what clients have and did, and set right what a wrong clock dated.

An account is moved on before it is read.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import asyncpg

from metering_service.accounts.account import Charge, LedgerEntry
from metering_service.accounts.grant import Balance
from metering_service.accounts.grant_store import GrantStore
from metering_service.accounts.ledger_store import LedgerStore
from metering_service.accounts.move_on import move_account
from service_chassis.database.admin_audit import AdminAuditStore
from service_chassis.database.pool import open_snapshot
from service_chassis.http.cursor import cut_page

STREAMED_ENTRIES = 1000
"""Read at once of a ledger that is wanted whole."""


async def mend_accounts(pool: asyncpg.Pool, client_id: str | None, *, now: datetime, actor: str) -> list[str]:
    """Set the moments and counters right of accounts that were counted at a moment to come; return whose.

    For one client or, without, for all: after the database's clock was ahead, and was set right. Raises
    ClientNotFound.
    """
    if client_id is not None:
        await LedgerStore(pool).require_known(client_id)
    ahead = await LedgerStore(pool).list_ahead()
    mended = []
    for each in ahead if client_id is None else [client_id]:
        async with pool.acquire(client_id=each) as connection, connection.transaction():
            store = LedgerStore(connection)
            await store.lock_account(each)
            if each in ahead and await store.mend_moments(each):
                mended.append(each)
                await AdminAuditStore(connection).insert_line(now, actor, "mend_clock", each)
    return mended


async def fetch_balance(pool: asyncpg.Pool, client_id: str) -> Balance:
    """Return what a client has; one never heard of has nothing."""
    await move_account(pool, client_id)
    async with open_snapshot(pool) as connection:
        return await GrantStore(connection).fetch_balance(client_id) or Balance(client_id)


async def list_entries(
    pool: asyncpg.Pool, client_id: str, after: int, limit: int
) -> tuple[Sequence[LedgerEntry], LedgerEntry | None]:
    """Return a page of a client's ledger, oldest first, from after `after` on; its last one if more follow."""
    await move_account(pool, client_id)
    return cut_page(await LedgerStore(pool).list_entries(client_id, after, limit + 1), limit)


async def stream_entries(pool: asyncpg.Pool, client_id: str, after: int = 0) -> AsyncIterator[Sequence[LedgerEntry]]:
    """Yield a client's ledger in batches, oldest first, from after the entry `after` on, in constant memory.

    Whoever goes on after the last line that it has misses none: lines of one client get their numbers under its
    account's lock and become visible in their order, so that none commits below one that was read. Raises
    ClientNotFound.
    """
    await LedgerStore(pool).require_known(client_id)
    begin: int | None = after
    while begin is not None:
        entries, last = await list_entries(pool, client_id, begin, STREAMED_ENTRIES)
        yield entries
        begin = None if last is None else last.entry_id


async def find_charges(
    pool: asyncpg.Pool, after: tuple[str, str], limit: int
) -> tuple[Sequence[Charge], Charge | None]:
    """Return a page of all clients' spends by event and client id, from after `after` on.

    With its last one if more follow.
    """
    return cut_page(await LedgerStore(pool).list_charges(after, limit + 1), limit)
