"""The policies of clients, kept in this process for the rate check."""

from collections.abc import Iterable
from contextlib import nullcontext

import asyncpg
from cachetools import LRUCache

from metering_service.policies.policy import ClientPolicies
from metering_service.policies.store import PolicyStore

_CACHED_CLIENTS = 100_000


class PolicyCache:
    """Finds the policy versions of each client, as they were when they were last read.

    The cache may be behind: the decision itself reads the present version and says `stale` when the cached one
    is not it, whereupon the caller forgets the client and asks again. So no process ever decides by old terms,
    and none needs to be told.
    """

    def __init__(self, pool: asyncpg.Pool, *, default_policy: str) -> None:
        self._pool = pool
        self._default_policy = default_policy
        self._by_client: LRUCache[str, ClientPolicies] = LRUCache(_CACHED_CLIENTS)

    async def fetch_of_clients(
        self, client_ids: Iterable[str], connection: asyncpg.Connection | None = None
    ) -> dict[str, ClientPolicies]:
        """Return the policies of each client, as cached or as they stand; nothing of those that have none.

        They have none where the configured default policy does not exist. Policies are read through `connection` for
        a caller that holds one, who must not wait for another.
        """
        found: dict[str, ClientPolicies] = {}
        missing: list[str] = []
        for client_id in set(client_ids):
            policies = self._by_client.get(client_id)
            if policies is None:
                missing.append(client_id)
            else:
                found[client_id] = policies
        if missing:
            async with self._pool.acquire() if connection is None else nullcontext(connection) as reading:
                present = await PolicyStore(reading).find_of_clients(missing, self._default_policy)
            self._by_client.update(present)
            found |= present
        return found

    def forget(self, client_id: str) -> None:
        """Drop what the cache knows of this client."""
        self._by_client.pop(client_id, None)
