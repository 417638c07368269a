"""Move accounts on: let grants begin, come again and expire whose time has come, whether anybody asks or not."""

from dataclasses import dataclass

import asyncpg

from metering_service.accounts.grant_store import GrantStore
from metering_service.accounts.ledger_store import LedgerStore
from service_chassis.operations.logging import log_fault

MOVED_AT_ONCE = 100
MOVE_INTERVAL_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class MoveAccounts:
    """Every decision about a client moves its account on; this is for what is read, and for those nobody asks for."""

    pool: asyncpg.Pool

    async def run_once(self) -> None:
        """Move all on that are due; one that cannot be moved now waits for the next time."""
        after: str | None = ""
        while after is not None:
            async with self.pool.acquire() as connection:
                due = await GrantStore(connection).list_due(after, MOVED_AT_ONCE)
            for client_id in due:
                try:
                    await self.move(client_id)
                except asyncpg.PostgresError as error:
                    log_fault("account_not_moved", error)
            after = due[-1] if len(due) == MOVED_AT_ONCE else None

    async def move(self, client_id: str) -> None:
        """Move one account on, if it is due."""
        async with self.pool.acquire(client_id=client_id) as connection:
            if await GrantStore(connection).is_due(client_id):
                await LedgerStore(connection).lock_account(client_id)
