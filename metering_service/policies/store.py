"""Policies, their versions, and who has which."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, cast

import asyncpg
import orjson
from cachetools import LRUCache

from metering_service.policies.policy import Policy, PolicyVersion, Quota, Rate

ACQUIRE_TIMEOUT_SECONDS = 1.0
_CACHED_CLIENTS = 100_000

_COLUMNS = (
    "v.policy_id, v.version, v.rate_limit, v.rate_period_seconds, v.rate_burst, v.quota_limit, v.quota_period,"
    " v.prices, v.credits, v.mode, v.created_at"
)


class PolicyStore:
    """Writes policies; reads them for admins, and for the rate check through a cache.

    The cache may be behind: the decision itself reads the present version and says `stale` when the cached one
    is not it, whereupon the caller forgets the client and asks again. So no process ever decides by old terms,
    and none needs to be told.
    """

    def __init__(self, pool: asyncpg.Pool, *, default_policy: str) -> None:
        self._pool = pool
        self._default_policy = default_policy
        self._by_client: LRUCache[str, PolicyVersion] = LRUCache(_CACHED_CLIENTS)

    _OF_CLIENTS = f"""
        SELECT c.client_id, {_COLUMNS}
        FROM unnest($1::text[]) AS c (client_id)
        LEFT JOIN account a ON a.client_id = c.client_id
        JOIN policy p ON p.policy_id = coalesce(a.policy_id, $2)
        JOIN policy_version v ON v.policy_id = p.policy_id AND v.version = p.version
    """

    async def fetch_of_clients(self, client_ids: Iterable[str]) -> dict[str, PolicyVersion]:
        """Answer the policy version of each client, as cached or as it stands.

        Raises LookupError when the configured default policy does not exist.
        """
        found: dict[str, PolicyVersion] = {}
        missing: list[str] = []
        for client_id in set(client_ids):
            version = self._by_client.get(client_id)
            if version is None:
                missing.append(client_id)
            else:
                found[client_id] = version
        if missing:
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
                rows = await connection.fetch(self._OF_CLIENTS, missing, self._default_policy)
            if len(rows) != len(missing):
                raise LookupError(f"no policy {self._default_policy}")
            for row in rows:
                found[row["client_id"]] = self._by_client[row["client_id"]] = _read_version(row)
        return found

    def forget(self, client_ids: Iterable[str]) -> None:
        """Drop what the cache knows of these clients."""
        for client_id in client_ids:
            self._by_client.pop(client_id, None)

    _LOCK_CURRENT = f"""
        SELECT {_COLUMNS}
        FROM policy p JOIN policy_version v ON v.policy_id = p.policy_id AND v.version = p.version
        WHERE p.policy_id = $1
        FOR UPDATE OF p
    """
    _INSERT_VERSION = """
        INSERT INTO policy_version (policy_id, version, rate_limit, rate_period_seconds, rate_burst, quota_limit,
                                    quota_period, prices, credits, mode, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    """
    _POINT_AT = """
        INSERT INTO policy (policy_id, version) VALUES ($1, $2)
        ON CONFLICT (policy_id) DO UPDATE SET version = excluded.version
    """

    async def insert_version(
        self, connection: asyncpg.Connection, policy_id: str, policy: Policy, now: datetime
    ) -> PolicyVersion:
        """Make `policy` the current version of `policy_id`; the same terms again are no new version.

        Runs in the caller's transaction. Two first versions at once: the second raises UniqueViolationError.
        """
        row = await connection.fetchrow(self._LOCK_CURRENT, policy_id)
        current = _read_version(row) if row else None
        if current is not None and current.policy == policy:
            return current
        version = current.version + 1 if current else 1
        await connection.execute(
            self._INSERT_VERSION,
            policy_id,
            version,
            *(policy.rate.limit, policy.rate.period_seconds, policy.rate.burst) if policy.rate else (None,) * 3,
            *(policy.quota.limit, policy.quota.period) if policy.quota else (None,) * 2,
            orjson.dumps(policy.prices, option=orjson.OPT_SORT_KEYS).decode(),
            policy.credits,
            policy.mode,
            now,
        )
        await connection.execute(self._POINT_AT, policy_id, version)
        return PolicyVersion(policy_id, version, policy, now)

    _LIST_CURRENT = f"""
        SELECT {_COLUMNS}
        FROM policy p JOIN policy_version v ON v.policy_id = p.policy_id AND v.version = p.version
        WHERE p.policy_id > $1
        ORDER BY p.policy_id
        LIMIT $2
    """

    async def list_current(self, after: str, limit: int) -> list[PolicyVersion]:
        """List current versions by policy id, from after `after` on."""
        return [_read_version(row) for row in await self._fetch(self._LIST_CURRENT, after, limit)]

    _LIST_VERSIONS = f"""
        SELECT {_COLUMNS} FROM policy_version v WHERE v.policy_id = $1 ORDER BY v.version DESC
    """

    async def list_versions(self, policy_id: str) -> list[PolicyVersion]:
        """List all versions of a policy, newest first; empty when there is no such policy."""
        return [_read_version(row) for row in await self._fetch(self._LIST_VERSIONS, policy_id)]

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            return cast("list[asyncpg.Record]", await connection.fetch(statement, *arguments))


def _read_version(row: asyncpg.Record) -> PolicyVersion:
    rate = None
    if row["rate_limit"] is not None:
        rate = Rate(row["rate_limit"], row["rate_period_seconds"], row["rate_burst"])
    quota = Quota(row["quota_limit"], row["quota_period"]) if row["quota_limit"] is not None else None
    policy = Policy(rate, quota, orjson.loads(row["prices"]), row["credits"], row["mode"])
    return PolicyVersion(row["policy_id"], row["version"], policy, row["created_at"])
