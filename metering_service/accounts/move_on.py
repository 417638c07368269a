"""Move accounts on: let grants begin, come again and expire whose time has come, whether anybody asks or not.

Every decision about a client moves its account on; this is for what is read, and for those nobody asks for.
"""

import asyncpg

from metering_service.accounts.grant_store import GrantStore
from metering_service.accounts.ledger_store import LedgerStore
from service_chassis.operations.logging import log_fault

MOVED_AT_ONCE = 100
MOVE_INTERVAL_SECONDS = 600.0


async def move_accounts(pool: asyncpg.Pool) -> None:
    """Move all on that are due; one that cannot be moved now waits for the next time."""
    after: str | None = ""
    while after is not None:
        due = await GrantStore(pool).list_due(after, MOVED_AT_ONCE)
        for client_id in due:
            try:
                await move_account(pool, client_id)
            except asyncpg.PostgresError as error:
                log_fault("account_not_moved", error)
        after = due[-1] if len(due) == MOVED_AT_ONCE else None


async def move_account(pool: asyncpg.Pool, client_id: str) -> None:
    """Move one account on, if it is due."""
    async with pool.acquire(client_id=client_id) as connection:
        if await GrantStore(connection).is_due(client_id):
            await LedgerStore(connection).lock_account(client_id)
