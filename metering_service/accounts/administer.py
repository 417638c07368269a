"""Give clients credits, correct them, and look at what they have."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import asyncpg

from metering_service.accounts.account import Balance, Charge, LedgerEntry
from metering_service.accounts.ledger_store import LedgerStore
from metering_service.admin_audit.store import AdminAuditStore
from metering_service.errors import ReferenceReused
from service_chassis.clock import Clock, system_clock
from service_chassis.http.cursor import cut_page

STREAMED_ENTRIES = 1000
"""Read at once of a ledger that is wanted whole."""


@dataclass(frozen=True, slots=True)
class AdministerAccounts:
    """What operators do with accounts. `actor` is a service key's, or names the command line."""

    pool: asyncpg.Pool
    clock: Clock = system_clock

    async def grant(
        self,
        client_id: str,
        grant_id: str,
        credits: int,
        *,
        source: str | None = None,
        note: str | None = None,
        create: bool = False,
        actor: str,
    ) -> LedgerEntry:
        """Give a client credits, once per `grant_id`, and return the ledger entry.

        Raises ReferenceReused, or ClientNotFound unless the client is known or to be created.
        """
        return await self._write_entry(
            client_id, "grant", grant_id, credits, source=source, note=note, create=create, actor=actor
        )

    async def adjust(
        self, client_id: str, adjustment_id: str, credits: int, *, reason: str, create: bool = False, actor: str
    ) -> LedgerEntry:
        """Correct a client's credits up or down, once per `adjustment_id`, and return the ledger entry.

        Raises InsufficientCredits or ReferenceReused, or ClientNotFound as `grant`.
        """
        return await self._write_entry(
            client_id, "adjust", adjustment_id, credits, source=None, note=reason, create=create, actor=actor
        )

    async def _write_entry(
        self,
        client_id: str,
        kind: str,
        reference: str,
        credits: int,
        *,
        source: str | None,
        note: str | None,
        create: bool,
        actor: str,
    ) -> LedgerEntry:
        now = self.clock()
        async with self.pool.acquire() as connection, connection.transaction():
            store = LedgerStore(connection)
            if not create:
                await store.require_known(client_id)
            await store.lock_account(client_id)
            entry, is_new = await store.insert_entry(
                client_id, kind, reference, credits, source=source, note=note, now=now
            )
            if is_new:
                await AdminAuditStore(connection).insert_line(
                    *(now, actor, kind, client_id), reference=reference, credits=credits, source=source, note=note
                )
        if (entry.credits, entry.source, entry.note) != (credits, source, note):
            raise ReferenceReused(reference)
        return entry

    async def mend_clock(self, client_id: str | None, *, actor: str) -> list[str]:
        """Set the moments and counters right of accounts that were counted at a moment to come; return whose.

        For one client or, without, for all: after the database's clock was ahead, and was set right.
        """
        async with self.pool.acquire() as connection:
            ahead = await LedgerStore(connection).list_ahead()
        mended = []
        for each in ahead if client_id is None else [client_id]:
            async with self.pool.acquire() as connection, connection.transaction():
                store = LedgerStore(connection)
                await store.lock_account(each)
                if each in ahead and await store.mend_moments(each):
                    mended.append(each)
                    await AdminAuditStore(connection).insert_line(self.clock(), actor, "mend_clock", each)
        return mended

    async def require_known(self, client_id: str) -> None:
        """Raise ClientNotFound for a client that nobody ever named."""
        async with self.pool.acquire() as connection:
            await LedgerStore(connection).require_known(client_id)

    async def fetch_balance(self, client_id: str) -> Balance | None:
        """Return what a client has, None for one never heard of."""
        async with self.pool.acquire() as connection:
            return await LedgerStore(connection).fetch_balance(client_id)

    async def list_entries(
        self, client_id: str, after: int, limit: int
    ) -> tuple[Sequence[LedgerEntry], LedgerEntry | None]:
        """Return a page of a client's ledger, oldest first, from after `after` on; its last one if more follow."""
        async with self.pool.acquire() as connection:
            return cut_page(await LedgerStore(connection).list_entries(client_id, after, limit + 1), limit)

    async def stream_entries(self, client_id: str) -> AsyncIterator[LedgerEntry]:
        """Yield a client's whole ledger, oldest first, in constant memory."""
        after: int | None = 0
        while after is not None:
            entries, last = await self.list_entries(client_id, after, STREAMED_ENTRIES)
            for entry in entries:
                yield entry
            after = None if last is None else last.entry_id

    async def list_last_entries(self, client_id: str, limit: int) -> list[LedgerEntry]:
        """Return the last lines of a client's ledger, newest first."""
        async with self.pool.acquire() as connection:
            return await LedgerStore(connection).list_last_entries(client_id, limit)

    async def list_charges(self, after: tuple[str, str], limit: int) -> tuple[Sequence[Charge], Charge | None]:
        """Return a page of all clients' spends by event and client id, from after `after` on.

        With its last one if more follow.
        """
        async with self.pool.acquire() as connection:
            return cut_page(await LedgerStore(connection).list_charges(after, limit + 1), limit)
