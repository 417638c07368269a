"""How much of its quotas a client has used."""

from dataclasses import dataclass

import asyncpg

from metering_service.accounts.account import QuotaUse
from metering_service.accounts.ledger_store import LedgerStore
from metering_service.policies.store import PolicyStore


@dataclass(frozen=True, slots=True)
class ReadQuotas:
    """Looks at clients' quotas, at the moment of the database; a client without a policy of its own has
    `default_policy`.
    """

    pool: asyncpg.Pool
    default_policy: str

    async def list_of(self, client_id: str, user_id: str | None) -> list[QuotaUse]:
        """Return the client's quotas in their present periods; those per user where one is named.

        Raises LookupError when there is no default policy.
        """
        async with self.pool.acquire() as connection:
            policies = await PolicyStore(connection).list_of_clients([client_id], self.default_policy)
            quotas = [
                quota
                for quota in policies[client_id].enforced.policy.quotas
                if quota.per == "client" or user_id is not None
            ]
            return await LedgerStore(connection).list_quotas(client_id, user_id, quotas)
