"""Give clients policies, from now or a day to come on, for good or for a time.

`actor` is a service key's, or names the command line.
"""

from datetime import datetime
from typing import Any

import asyncpg

from metering_service.accounts.assignment_store import Assignment, AssignmentStore
from metering_service.accounts.ledger_store import LedgerStore
from metering_service.policies.store import PolicyStore
from service_chassis.database.admin_audit import AdminAuditStore
from service_chassis.errors import InvalidRequest


async def give_policy(
    pool: asyncpg.Pool,
    client_id: str,
    policy_id: str,
    *,
    from_when: datetime | None = None,
    until: datetime | None = None,
    then: str | None = None,
    shadow: str | None = None,
    reset_periods: bool = False,
    create: bool = False,
    actor: str,
) -> dict[str, Any]:
    """Give a client a policy from `from_when`, None for now, and from `until` on the policy `then`.

    The policy `shadow` decides about the same events meanwhile, and refuses nothing. Takes the place of all that
    was booked for then or later. Periods that do not follow the calendar go on as they were unless
    `reset_periods`. Raises ClientNotFound unless the client is known or to be created, UnknownPolicy,
    PolicyNotBegun, or InvalidRequest naming the field.

    Returns, as JSON values, the client's present policy, null for the default, what is booked, and what was.
    """
    async with pool.acquire(client_id=client_id) as connection, connection.transaction():
        accounts, store = LedgerStore(connection), AssignmentStore(connection)
        if not create:
            await accounts.require_known(client_id)
        await accounts.lock_account(client_id)
        await accounts.note_moment(client_id)
        policies = PolicyStore(connection)
        now = await policies.fetch_now()
        start = from_when or now
        _require_order(now, start, until, then)
        if shadow == policy_id:
            raise InvalidRequest.field("shadow", "Must be another policy than the one that is enforced.")
        before = [each for each in await store.list_all(client_id) if each.starts_at <= start]
        anchored_at = before[-1].anchored_at if before and not reset_periods else start
        is_same = bool(before) and (before[-1].policy_id, before[-1].shadow_policy_id) == (policy_id, shadow)
        if is_same and not reset_periods:
            start = before[-1].starts_at
        await store.delete_from(client_id, start)
        await store.insert(client_id, policy_id, start, anchored_at, shadow)
        if until is not None and then is not None:
            await store.insert(client_id, then, until, anchored_at)
        for each in filter(None, (policy_id, then)):
            await policies.require_begun(each)
        detail: dict[str, Any] = {
            "policyId": policy_id,
            "shadow": shadow,
            "from": start,
            "until": until,
            "then": then,
        }
        await AdminAuditStore(connection).insert_line(
            now, actor, "assign_policy", client_id, **detail, resetPeriods=reset_periods
        )
        return await _read(connection, client_id, now)


async def fetch_client_policy(pool: asyncpg.Pool, client_id: str) -> dict[str, Any]:
    """Return a client's policies, as `give_policy`. Raises ClientNotFound."""
    await LedgerStore(pool).require_known(client_id)
    return await _read(pool, client_id, await PolicyStore(pool).fetch_now())


async def _read(connection: asyncpg.Connection | asyncpg.Pool, client_id: str, now: datetime) -> dict[str, Any]:
    assignments = await AssignmentStore(connection).list_all(client_id)
    begun = [_render(assignment) for assignment in assignments if assignment.starts_at <= now]
    booked = [_render(assignment) for assignment in assignments if assignment.starts_at > now]
    default: dict[str, Any] = {"policyId": None, "from": None, "until": None, "shadow": None}
    return {"clientId": client_id, **(begun[-1] if begun else default), "booked": booked, "past": begun[:-1]}


def _require_order(now: datetime, start: datetime, until: datetime | None, then: str | None) -> None:
    if start < now:
        raise InvalidRequest.field("from", "Must not be in the past.")
    if (until is None) != (then is None):
        raise InvalidRequest.field("then" if then is None else "until", "Must be there: until needs then.")
    if until is not None and until <= start:
        raise InvalidRequest.field("until", "Must be after from.")


def _render(assignment: Assignment) -> dict[str, Any]:
    return {
        "policyId": assignment.policy_id,
        "from": assignment.starts_at,
        "until": assignment.ends_at,
        "shadow": assignment.shadow_policy_id,
    }
