"""How much of its quotas a client has used."""

from collections.abc import Sequence
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
        return (await self._list([client_id], user_id))[client_id]

    async def list_of_clients(self, client_ids: Sequence[str]) -> dict[str, list[QuotaUse]]:
        """Return the quotas of each client in their present periods, without those per user.

        Raises LookupError when there is no default policy.
        """
        return await self._list(client_ids, None)

    async def _list(self, client_ids: Sequence[str], user_id: str | None) -> dict[str, list[QuotaUse]]:
        async with self.pool.acquire() as connection:
            policies = await PolicyStore(connection).list_of_clients(client_ids, self.default_policy)
            asked = [
                (client_id, user_id, quota)
                for client_id in client_ids
                for quota in policies[client_id].enforced.policy.quotas
                if quota.per == "client" or user_id is not None
            ]
            found: dict[str, list[QuotaUse]] = {client_id: [] for client_id in client_ids}
            for (client_id, _, _), use in zip(asked, await LedgerStore(connection).list_quotas(asked), strict=True):
                found[client_id].append(use)
            return found
