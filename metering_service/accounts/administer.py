"""Look at what clients have and did, and set right what a wrong clock dated."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import asyncpg

from metering_service.accounts.account import Charge, LedgerEntry
from metering_service.accounts.grant import Balance
from metering_service.accounts.grant_store import GrantStore
from metering_service.accounts.ledger_store import LedgerStore
from metering_service.accounts.move_on import move_account
from service_chassis.clock import Clock, system_clock
from service_chassis.database.admin_audit import AdminAuditStore
from service_chassis.database.pool import open_snapshot
from service_chassis.http.cursor import cut_page

STREAMED_ENTRIES = 1000
"""Read at once of a ledger that is wanted whole."""


@dataclass(frozen=True, slots=True)
class AdministerAccounts:
    """What operators look at, and mend. `actor` is a service key's, or names the command line.

    An account is moved on before it is read.
    """

    pool: asyncpg.Pool
    clock: Clock = system_clock

    async def mend_clock(self, client_id: str | None, *, actor: str) -> list[str]:
        """Set the moments and counters right of accounts that were counted at a moment to come; return whose.

        For one client or, without, for all: after the database's clock was ahead, and was set right.
        """
        ahead = await LedgerStore(self.pool).list_ahead()
        mended = []
        for each in ahead if client_id is None else [client_id]:
            async with self.pool.acquire(client_id=each) as connection, connection.transaction():
                store = LedgerStore(connection)
                await store.lock_account(each)
                if each in ahead and await store.mend_moments(each):
                    mended.append(each)
                    await AdminAuditStore(connection).insert_line(self.clock(), actor, "mend_clock", each)
        return mended

    async def require_known(self, client_id: str) -> None:
        """Raise ClientNotFound for a client that nobody ever named."""
        await LedgerStore(self.pool).require_known(client_id)

    async def fetch_balance(self, client_id: str) -> Balance | None:
        """Return what a client has, None for one never heard of."""
        await move_account(self.pool, client_id)
        async with open_snapshot(self.pool) as connection:
            return await GrantStore(connection).fetch_balance(client_id)

    async def list_entries(
        self, client_id: str, after: int, limit: int
    ) -> tuple[Sequence[LedgerEntry], LedgerEntry | None]:
        """Return a page of a client's ledger, oldest first, from after `after` on; its last one if more follow."""
        await move_account(self.pool, client_id)
        return cut_page(await LedgerStore(self.pool).list_entries(client_id, after, limit + 1), limit)

    async def stream_entries(self, client_id: str, after: int = 0) -> AsyncIterator[Sequence[LedgerEntry]]:
        """Yield a client's ledger in batches, oldest first, from after the entry `after` on, in constant memory.

        Whoever goes on after the last line that it has misses none: lines of one client get their numbers under its
        account's lock and become visible in their order, so that none commits below one that was read.
        """
        begin: int | None = after
        while begin is not None:
            entries, last = await self.list_entries(client_id, begin, STREAMED_ENTRIES)
            yield entries
            begin = None if last is None else last.entry_id

    async def list_last_entries(self, client_id: str, limit: int) -> list[LedgerEntry]:
        """Return the last lines of a client's ledger, newest first."""
        return await LedgerStore(self.pool).list_last_entries(client_id, limit)

    async def list_charges(self, after: tuple[str, str], limit: int) -> tuple[Sequence[Charge], Charge | None]:
        """Return a page of all clients' spends by event and client id, from after `after` on.

        With its last one if more follow.
        """
        return cut_page(await LedgerStore(self.pool).list_charges(after, limit + 1), limit)
