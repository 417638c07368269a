"""Change policies and look at them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import asyncpg

from metering_service.admin_audit.store import AdminAuditStore
from metering_service.errors import PolicyNotFound
from metering_service.policies.policy import Policy, PolicyVersion
from metering_service.policies.store import PolicyStore
from service_chassis.clock import Clock, system_clock
from service_chassis.http.cursor import cut_page


@dataclass(frozen=True, slots=True)
class AdministerPolicies:
    """What operators do with policies. `actor` is a service key's, or names the command line."""

    pool: asyncpg.Pool
    clock: Clock = system_clock

    async def put(self, policy_id: str, policy: Policy, *, actor: str) -> PolicyVersion:
        """Make `policy` the current version, in force from the next decision; the same terms again change nothing.

        Raises PolicyChanged on a race.
        """
        now = self.clock()
        async with self.pool.acquire() as connection, connection.transaction():
            version = await PolicyStore(connection).insert_version(policy_id, policy, now)
            await AdminAuditStore(connection).insert_line(
                now, actor, "put_policy", policy_id, version=version.version, **asdict(policy)
            )
        return version

    async def list_current(self, after: str, limit: int) -> tuple[Sequence[PolicyVersion], PolicyVersion | None]:
        """Return a page of current versions by policy id, from after `after` on, and its last one if more follow."""
        async with self.pool.acquire() as connection:
            return cut_page(await PolicyStore(connection).list_current(after, limit + 1), limit)

    async def list_versions(self, policy_id: str) -> list[PolicyVersion]:
        """Return all versions of a policy, newest first. Raises PolicyNotFound."""
        async with self.pool.acquire() as connection:
            versions = await PolicyStore(connection).list_versions(policy_id)
        if not versions:
            raise PolicyNotFound
        return versions


async def check_policy(pool: asyncpg.Pool, policy_id: str) -> None:
    """Raise LookupError unless there is a policy `policy_id`: the configured default."""
    async with pool.acquire(timeout=1) as connection:
        if await PolicyStore(connection).list_versions(policy_id):
            return
    raise LookupError(f"METERING_DEFAULT_POLICY: there is no policy {policy_id}")
