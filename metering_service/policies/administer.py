"""Change policies and look at them. `actor` is a service key's, or names the command line."""

from collections.abc import Sequence
from datetime import datetime
from difflib import get_close_matches

import asyncpg

from metering_service.errors import NothingBooked, PolicyNotFound
from metering_service.policies.policy import ANY_TYPE, Policy, PolicyVersion, Quota, Rate
from metering_service.policies.store import PolicyStore
from service_chassis.database.admin_audit import AdminAuditStore
from service_chassis.database.dry_run import open_transaction
from service_chassis.errors import InvalidRequest
from service_chassis.http.cursor import cut_page


async def put_version(
    pool: asyncpg.Pool,
    policy_id: str,
    policy: Policy,
    *,
    effective_at: datetime | None = None,
    base: str | None = None,
    dry_run: bool = False,
    actor: str,
) -> tuple[PolicyVersion, list[str]]:
    """Make `policy` a version, in force from the next decision or from `effective_at` on.

    The same terms again change nothing. `base` is the mark of the newest version that whoever made `policy`
    saw, '' for none; without it nobody asks. A `dry_run` refuses the same and changes nothing. Returns it, and
    warnings of what may be a mistake in it. Raises InvalidRequest for an `effective_at` in the past and for a
    name that is not printable, PolicyChanged where another version is the newest, or PolicyNotBegun.
    """
    _require_printable(policy)
    async with pool.acquire() as connection, open_transaction(connection, dry_run=dry_run):
        store = PolicyStore(connection)
        now = await store.fetch_now()
        if effective_at is not None and effective_at < now:
            raise InvalidRequest.field("effectiveAt", "Must not be in the past.")
        version, is_new = await store.insert_version(policy_id, policy, effective_at, base)
        if is_new:
            await AdminAuditStore(connection).insert_line(
                *(now, actor, "put_policy", policy_id),
                **{"version": version.version, "effectiveAt": version.effective_at, **policy.as_document()},
            )
        return version, find_warnings(policy, await store.list_event_types())


async def cancel_version(pool: asyncpg.Pool, policy_id: str, *, actor: str) -> None:
    """Take back the version that is booked for later. Raises NothingBooked, or PolicyNotBegun."""
    async with pool.acquire() as connection, connection.transaction():
        store = PolicyStore(connection)
        if not await store.delete_booked(policy_id):
            raise NothingBooked(policy_id)
        await AdminAuditStore(connection).insert_line(
            await store.fetch_now(), actor, "cancel_booked_policy", policy_id
        )


async def list_current(
    pool: asyncpg.Pool, after: str, limit: int
) -> tuple[Sequence[PolicyVersion], PolicyVersion | None]:
    """Return a page of current versions by policy id, from after `after` on, and its last one if more follow.

    Of a policy whose first version is booked, that one.
    """
    return cut_page(await PolicyStore(pool).list_current(after, limit + 1), limit)


async def fetch_history(pool: asyncpg.Pool, policy_id: str) -> tuple[PolicyVersion, list[PolicyVersion]]:
    """Return the present version of a policy, and all of them, newest first. Raises PolicyNotFound.

    Of a policy whose first version is booked, that one.
    """
    versions = await PolicyStore(pool).list_versions(policy_id)
    now = await PolicyStore(pool).fetch_now()
    if not versions:
        raise PolicyNotFound(policy_id)
    begun = [version for version in versions if version.effective_at <= now]
    return max(begun or versions[-1:], key=lambda version: (version.effective_at, version.version)), versions


def _require_printable(policy: Policy) -> None:
    """Raise InvalidRequest for names with line ends or control characters.

    Not in the schema, which reads what is stored, too: nothing may keep a policy that is in force from being read.
    """
    named = [("prices", event_type) for event_type in policy.prices]
    of_kinds: dict[str, Sequence[Rate | Quota]] = {"rates": policy.rates, "quotas": policy.quotas}
    for kind, limits in of_kinds.items():
        for number, limit in enumerate(limits):
            named.append((f"{kind}.{number}.name", limit.name))
            named += [(f"{kind}.{number}.eventTypes", event_type) for event_type in limit.event_types]
    for field, name in named:
        if not name.isprintable():
            raise InvalidRequest.field(field, "Must hold printable characters only.")


def find_warnings(policy: Policy, seen: Sequence[str]) -> list[str]:
    """Return what may be a mistake: types that were never charged, with the one that is most alike."""
    if not seen:
        return []
    limits: Sequence[Rate | Quota] = (*policy.rates, *policy.quotas)
    named = {*policy.prices, *(each for limit in limits for each in limit.event_types)} - {ANY_TYPE}
    others = [event_type for event_type in seen if event_type not in named]
    warnings = []
    for event_type in sorted(named.difference(seen)):
        alike = get_close_matches(event_type, others, 1)
        warnings.append(f"{event_type}: never charged so far" + (f", did you mean {alike[0]}?" if alike else ""))
    return warnings


async def check_policy(pool: asyncpg.Pool, policy_id: str) -> None:
    """Raise LookupError unless a version of policy `policy_id`, the configured default, is in force."""
    async with pool.acquire(timeout=1) as connection:
        if await PolicyStore(connection).fetch_present(policy_id) is not None:
            return
    raise LookupError(f"METERING_DEFAULT_POLICY: no version of policy {policy_id} is in force")
