"""Policies and their versions in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

import orjson

from metering_service.errors import PolicyChanged, PolicyNotBegun
from metering_service.policies.policy import ClientPolicies, Policy, PolicyVersion
from metering_service.policies.schema import PolicySchema, make_policy
from service_chassis.database.pool import count_changed
from service_chassis.database.store import Store

_COLUMNS = "v.policy_id, v.version, v.terms, v.created_at, v.effective_at"
_CACHED_TERMS = 10_000

_POLICY = PolicySchema()


class PolicyStore(Store):
    """The tables `policy` and `policy_version`, through one connection that the caller holds.

    Closes: two versions made at once, and a client's policy whose only version is taken back (the policy's row is
    locked).
    Leaves open: a version read here is another one a moment later. A decision reads the present one for itself.
    """

    _LIST_OF_CLIENTS = f"""
        SELECT c.client_id, {_COLUMNS}, w.policy_id, w.version, w.terms, w.created_at, w.effective_at
        FROM unnest($1::text[]) AS c (client_id)
        LEFT JOIN account a ON a.client_id = c.client_id
        -- As decisions do: never before the account's last moment.
        CROSS JOIN LATERAL (SELECT greatest(utc_now(), a.last_at) AS moment) AS m
        LEFT JOIN LATERAL find_assignment(c.client_id, m.moment) AS s ON true
        CROSS JOIN LATERAL find_version(coalesce(s.policy_id, $2), m.moment) AS v
        LEFT JOIN LATERAL find_version(s.shadow_policy_id, m.moment) AS w ON true
    """

    async def list_of_clients(self, client_ids: Sequence[str], default_policy: str) -> dict[str, ClientPolicies]:
        """Return the present policies of each client. Raises LookupError when there is no default policy."""
        found = await self.find_of_clients(client_ids, default_policy)
        if len(found) != len(client_ids):
            raise LookupError(f"no policy {default_policy}")
        return found

    async def find_of_clients(self, client_ids: Sequence[str], default_policy: str) -> dict[str, ClientPolicies]:
        """Return the present policies of those of the clients that have any, all where there is a default policy."""
        rows = await self._connection.fetch(self._LIST_OF_CLIENTS, client_ids, default_policy)
        return {
            client_id: ClientPolicies(_read_version(*each[:5]), None if each[5] is None else _read_version(*each[5:]))
            for client_id, *each in rows
        }

    _INSERT_POLICY = "INSERT INTO policy (policy_id) VALUES ($1) ON CONFLICT DO NOTHING"
    _LOCK_ROW = "SELECT FROM policy WHERE policy_id = $1 FOR NO KEY UPDATE"
    _FETCH_LAST = f"SELECT {_COLUMNS} FROM policy_version v WHERE v.policy_id = $1 ORDER BY v.version DESC LIMIT 1"
    _FETCH_PRESENT = f"SELECT {_COLUMNS} FROM find_version($1, utc_now()) AS v"
    _DELETE_BOOKED = "DELETE FROM policy_version WHERE policy_id = $1 AND effective_at > utc_now()"
    # Versions meant for at once by a clock that was ahead then: they must not come back over a later one.
    _PULL_BACK = """
        UPDATE policy_version SET created_at = utc_now(), effective_at = utc_now()
        WHERE policy_id = $1 AND created_at > utc_now() AND effective_at = created_at
    """
    _INSERT_VERSION = """
        INSERT INTO policy_version AS v (policy_id, version, terms, created_at, effective_at)
        VALUES ($1, $2, $3, utc_now(), coalesce($4, utc_now()))
        RETURNING v.created_at, v.effective_at
    """

    async def insert_version(
        self, policy_id: str, policy: Policy, effective_at: datetime | None, base: str | None = None
    ) -> tuple[PolicyVersion, bool]:
        """Make `policy` a version of `policy_id`, in a transaction, from `effective_at` on, None for now.

        The same terms as the present ones change nothing now, nor does what is booked already. A version booked for
        later takes the place of the one that was booked before. Returns it and whether it is new. Raises
        PolicyChanged where `base` is given and is not the newest version's mark, or PolicyNotBegun.
        """
        await self._connection.execute(self._INSERT_POLICY, policy_id)
        await self._connection.execute(self._LOCK_ROW, policy_id)
        await self._connection.execute(self._PULL_BACK, policy_id)
        newest = await self._connection.fetchrow(self._FETCH_LAST, policy_id)
        latest = None if newest is None else _read_version(*newest)
        if effective_at is not None and latest and (latest.policy, latest.effective_at) == (policy, effective_at):
            return latest, False
        present = await self.fetch_present(policy_id)
        if effective_at is None and present is not None and present.policy == policy:
            return present, False
        if base is not None and latest is not None and latest.mark != base:
            raise PolicyChanged(policy_id, latest.version)
        if effective_at is not None:
            await self._connection.execute(self._DELETE_BOOKED, policy_id)
        last = await self._connection.fetchrow(self._FETCH_LAST, policy_id)
        number = 1 if last is None else last["version"] + 1
        created_at, from_when = await self._connection.fetchrow(
            self._INSERT_VERSION, policy_id, number, orjson.dumps(policy.as_document()).decode(), effective_at
        )
        await self.require_begun(policy_id)
        return PolicyVersion(policy_id, number, policy, created_at, from_when), True

    async def fetch_present(self, policy_id: str) -> PolicyVersion | None:
        """Return the version of a policy that is in force, None for none."""
        row = await self._connection.fetchrow(self._FETCH_PRESENT, policy_id)
        return row and _read_version(*row)

    async def delete_booked(self, policy_id: str) -> bool:
        """Take back the version that is booked for later; return whether there was one. Raises PolicyNotBegun."""
        await self._connection.execute(self._LOCK_ROW, policy_id)
        deleted = count_changed(await self._connection.execute(self._DELETE_BOOKED, policy_id))
        await self.require_begun(policy_id)
        return bool(deleted)

    _KEEP_VERSIONS = "SELECT FROM policy WHERE policy_id = $1 FOR SHARE"
    _HAS_NOT_BEGUN = """
        SELECT NOT EXISTS (SELECT FROM find_version($1, utc_now())) AND EXISTS (
            SELECT FROM assignment WHERE policy_id = $1 AND starts_at < coalesce(
                (SELECT min(effective_at) FROM policy_version WHERE policy_id = $1), 'infinity'))
    """

    async def require_begun(self, policy_id: str) -> None:
        """Raise PolicyNotBegun where a client has the policy, or will, before any version of it is in force."""
        await self._connection.execute(self._KEEP_VERSIONS, policy_id)
        if await self._connection.fetchval(self._HAS_NOT_BEGUN, policy_id):
            raise PolicyNotBegun(policy_id)

    _LIST_CURRENT = f"""
        SELECT {_COLUMNS}
        FROM policy p
        -- Where none has begun, the first to begin.
        CROSS JOIN LATERAL (
            SELECT min(b.effective_at) AS moment FROM policy_version b WHERE b.policy_id = p.policy_id
        ) AS first
        CROSS JOIN LATERAL find_version(p.policy_id, greatest(utc_now(), first.moment)) AS v
        WHERE p.policy_id > $1
        ORDER BY p.policy_id
        LIMIT $2
    """

    async def list_current(self, after: str, limit: int) -> list[PolicyVersion]:
        """Return current versions by policy id, from after `after` on; of a policy that is booked, the first."""
        return [_read_version(*row) for row in await self._connection.fetch(self._LIST_CURRENT, after, limit)]

    _LIST_VERSIONS = f"SELECT {_COLUMNS} FROM policy_version v WHERE v.policy_id = $1 ORDER BY v.version DESC"

    async def list_versions(self, policy_id: str) -> list[PolicyVersion]:
        """Return all versions of a policy, newest first, also one that is booked; none when there is no such
        policy.
        """
        return [_read_version(*row) for row in await self._connection.fetch(self._LIST_VERSIONS, policy_id)]

    _FETCH_NOW = "SELECT utc_now()"

    async def fetch_now(self) -> datetime:
        """Return the database's present moment, by which versions are in effect."""
        now: datetime = await self._connection.fetchval(self._FETCH_NOW)
        return now

    # From each type to the next one, by the index usage_by_type: DISTINCT would read all of the usage.
    _LIST_EVENT_TYPES = """
        WITH RECURSIVE found AS (
            SELECT min(event_type) AS event_type FROM usage
            UNION ALL
            SELECT (SELECT min(u.event_type) FROM usage u WHERE u.event_type > found.event_type)
            FROM found WHERE found.event_type IS NOT NULL
        )
        SELECT event_type FROM found WHERE event_type IS NOT NULL ORDER BY event_type
    """

    async def list_event_types(self) -> list[str]:
        """Return the event types that were ever charged."""
        rows = await self._connection.fetch(self._LIST_EVENT_TYPES)
        return [event_type for (event_type,) in rows]


@lru_cache(_CACHED_TERMS)
def read_terms(document: str) -> Policy:
    """Return the policy of `policy_version.terms`."""
    return make_policy(_POLICY.load(orjson.loads(document)))


def _read_version(
    policy_id: str, version: int, terms: str, created_at: datetime, effective_at: datetime
) -> PolicyVersion:
    return PolicyVersion(policy_id, version, read_terms(terms), created_at, effective_at)
