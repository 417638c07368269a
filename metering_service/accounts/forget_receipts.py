"""Forget, in time, what stood at each limit when an event was charged; that it was charged is never forgotten."""

from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from metering_service.accounts.ledger_store import LedgerStore
from metering_service.accounts.receipt_store import ReceiptStore
from service_chassis.operations.logging import log_fault

FORGET_RECEIPTS_INTERVAL_SECONDS = 3600.0
_CLIENTS_AT_ONCE = 500
_LINES_AT_ONCE = 500
"""So many are changed while the client's account is locked: a few milliseconds, and decisions wait 200."""


@dataclass(frozen=True, slots=True)
class ForgetReceipts:
    """Takes the details out of the receipts of charges that are older than `kept`."""

    pool: asyncpg.Pool
    kept: timedelta

    async def run_once(self) -> None:
        """Go through all clients; one that cannot be changed now waits for the next time."""
        after: str | None = ""
        while after is not None:
            async with self.pool.acquire() as connection:
                clients = await ReceiptStore(connection).list_clients(after, _CLIENTS_AT_ONCE, self.kept)
            for client_id in (client_id for client_id, has_older in clients if has_older):
                try:
                    while await self._forget_some(client_id):
                        pass
                except asyncpg.PostgresError as error:
                    log_fault("receipts_not_forgotten", error)
            after = clients[-1][0] if len(clients) == _CLIENTS_AT_ONCE else None

    async def _forget_some(self, client_id: str) -> bool:
        async with self.pool.acquire() as connection, connection.transaction():
            await LedgerStore(connection).lock_account(client_id)
            return await ReceiptStore(connection).forget_details(client_id, self.kept, _LINES_AT_ONCE)
