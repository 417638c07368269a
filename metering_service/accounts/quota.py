"""How much of its quota a client has used."""

from dataclasses import dataclass

import asyncpg

from metering_service.accounts.account import QuotaUse, find_quota_use
from metering_service.accounts.ledger_store import LedgerStore
from service_chassis.clock import Clock


@dataclass(frozen=True, slots=True)
class ReadQuotas:
    """Looks at clients' quotas; a client without a policy of its own has `default_policy`."""

    pool: asyncpg.Pool
    clock: Clock
    default_policy: str

    async def fetch(self, client_id: str) -> QuotaUse | None:
        """Return the client's quota in the present period, None where its policy has none."""
        async with self.pool.acquire() as connection:
            quota, counters = await LedgerStore(connection).fetch_quota(client_id, self.default_policy)
        return find_quota_use(quota, counters, self.clock()) if quota else None
