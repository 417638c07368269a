"""How much of its quota a client has used."""

from dataclasses import dataclass

import asyncpg

from metering_service.accounts.account import QuotaUse, find_quota_use
from metering_service.accounts.ledger_store import LedgerStore


@dataclass(frozen=True, slots=True)
class ReadQuotas:
    """Looks at clients' quotas, at the moment of the database; a client without a policy of its own has
    `default_policy`.
    """

    pool: asyncpg.Pool
    default_policy: str

    async def fetch(self, client_id: str) -> QuotaUse | None:
        """Return the client's quota in the present period, None where its policy has none."""
        async with self.pool.acquire() as connection:
            quota, counters, now = await LedgerStore(connection).fetch_quota(client_id, self.default_policy)
        return find_quota_use(quota, counters, now) if quota else None
