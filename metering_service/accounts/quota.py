"""How much of its quotas a client has used."""

from collections.abc import Sequence

import asyncpg

from metering_service.accounts.account import QuotaUse
from metering_service.accounts.ledger_store import LedgerStore
from metering_service.policies.store import PolicyStore


async def list_quotas(
    pool: asyncpg.Pool, default_policy: str, client_ids: Sequence[str], user_id: str | None = None
) -> dict[str, list[QuotaUse]]:
    """Return the quotas of each client in their present periods; those per user where one is named.

    A client without a policy of its own has `default_policy`. Raises LookupError when there is no such policy.
    """
    policies = await PolicyStore(pool).list_of_clients(client_ids, default_policy)
    asked = [
        (client_id, user_id, quota)
        for client_id in client_ids
        for quota in policies[client_id].enforced.policy.quotas
        if quota.per == "client" or user_id is not None
    ]
    found: dict[str, list[QuotaUse]] = {client_id: [] for client_id in client_ids}
    for (client_id, _, _), use in zip(asked, await LedgerStore(pool).list_quotas(asked), strict=True):
        found[client_id].append(use)
    return found
