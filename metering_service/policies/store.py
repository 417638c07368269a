"""Policies and their versions in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
import orjson

from metering_service.errors import PolicyChanged
from metering_service.policies.policy import Policy, PolicyVersion, Quota, Rate

_COLUMNS = (
    "v.policy_id, v.version, v.rate_limit, v.rate_period_seconds, v.rate_burst, v.quota_limit, v.quota_period,"
    " v.prices, v.credits, v.mode, v.created_at"
)


class PolicyStore:
    """The tables `policy` and `policy_version`, through one connection that the caller holds.

    Closes: two versions made at once (the policy's row is locked; of two first ones the second fails).
    Leaves open: a version read here is another one a moment later. A decision reads the present one for itself.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    _LIST_OF_CLIENTS = f"""
        SELECT c.client_id, {_COLUMNS}
        FROM unnest($1::text[]) AS c (client_id)
        LEFT JOIN account a ON a.client_id = c.client_id
        JOIN policy p ON p.policy_id = coalesce(a.policy_id, $2)
        JOIN policy_version v ON v.policy_id = p.policy_id AND v.version = p.version
    """

    async def list_of_clients(self, client_ids: Sequence[str], default_policy: str) -> dict[str, PolicyVersion]:
        """Return the present policy version of each client. Raises LookupError when there is no default policy."""
        rows = await self._connection.fetch(self._LIST_OF_CLIENTS, client_ids, default_policy)
        if len(rows) != len(client_ids):
            raise LookupError(f"no policy {default_policy}")
        return {row["client_id"]: _read_version(row) for row in rows}

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

    async def insert_version(self, policy_id: str, policy: Policy, now: datetime) -> PolicyVersion:
        """Make `policy` the current version of `policy_id`, in a transaction; the same terms again change nothing.

        Two first versions at once: the second raises PolicyChanged.
        """
        row = await self._connection.fetchrow(self._LOCK_CURRENT, policy_id)
        current = _read_version(row) if row else None
        if current is not None and current.policy == policy:
            return current
        version = current.version + 1 if current else 1
        try:
            await self._connection.execute(
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
        except asyncpg.UniqueViolationError:
            raise PolicyChanged from None
        await self._connection.execute(self._POINT_AT, policy_id, version)
        return PolicyVersion(policy_id, version, policy, now)

    _LIST_CURRENT = f"""
        SELECT {_COLUMNS}
        FROM policy p JOIN policy_version v ON v.policy_id = p.policy_id AND v.version = p.version
        WHERE p.policy_id > $1
        ORDER BY p.policy_id
        LIMIT $2
    """

    async def list_current(self, after: str, limit: int) -> list[PolicyVersion]:
        """Return current versions by policy id, from after `after` on."""
        return [_read_version(row) for row in await self._connection.fetch(self._LIST_CURRENT, after, limit)]

    _LIST_VERSIONS = f"SELECT {_COLUMNS} FROM policy_version v WHERE v.policy_id = $1 ORDER BY v.version DESC"

    async def list_versions(self, policy_id: str) -> list[PolicyVersion]:
        """Return all versions of a policy, newest first; none when there is no such policy."""
        return [_read_version(row) for row in await self._connection.fetch(self._LIST_VERSIONS, policy_id)]


def _read_version(row: asyncpg.Record) -> PolicyVersion:
    rate = None
    if row["rate_limit"] is not None:
        rate = Rate(row["rate_limit"], row["rate_period_seconds"], row["rate_burst"])
    quota = Quota(row["quota_limit"], row["quota_period"]) if row["quota_limit"] is not None else None
    policy = Policy(rate, quota, orjson.loads(row["prices"]), row["credits"], row["mode"])
    return PolicyVersion(row["policy_id"], row["version"], policy, row["created_at"])
