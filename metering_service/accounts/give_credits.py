"""Give clients credits, for good or for a time, and take them back: grants, refunds, corrections.

Each thing once per its id. `actor` is a service key's, or names the command line. All raise ClientNotFound for a
client that metering does not know, unless told to create it. A `dry_run` refuses the same and changes nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg

from metering_service.accounts.account import LedgerEntry
from metering_service.accounts.grant import DEFAULT_PRIORITY, Grant, RecurringGrant, RecurringTerms
from metering_service.accounts.grant_store import GrantStore
from metering_service.accounts.ledger_store import LedgerStore
from metering_service.errors import (
    EventNotCharged,
    GrantEnded,
    GrantNotFound,
    InsufficientCredits,
    ReferenceReused,
    RefundTooLarge,
)
from service_chassis.database.admin_audit import AdminAuditStore
from service_chassis.database.dry_run import open_transaction
from service_chassis.errors import InvalidRequest

MAX_RECURRING_ID_CHARACTERS = 234
"""Each of its grants is named by it and by when its period begins, and such a name is an id like any other."""


async def give(
    pool: asyncpg.Pool,
    client_id: str,
    grant_id: str,
    credits: int,
    *,
    effective_at: datetime | None = None,
    expires_at: datetime | None = None,
    priority: int = DEFAULT_PRIORITY,
    source: str | None = None,
    note: str | None = None,
    create: bool = False,
    dry_run: bool = False,
    actor: str,
) -> Grant:
    """Give a client credits from `effective_at`, None for now, until `expires_at`, None for good.

    Raises ReferenceReused, or InvalidRequest naming the field.
    """
    async with _open(pool, client_id, create=create, dry_run=dry_run) as (connection, now):
        store = GrantStore(connection)
        given = await store.fetch(client_id, "grant", grant_id)
        if given is None:
            if expires_at is not None and expires_at <= max(effective_at or now, now):
                raise InvalidRequest.field("expiresAt", "Must be in the future, and after effectiveAt.")
            await store.lay_spent(client_id)
            given = await store.insert(
                *(client_id, "grant", grant_id, credits),
                effective_at=effective_at,
                expires_at=expires_at,
                priority=priority,
                source=source,
                note=note,
                actor=actor,
                now=now,
            )
            await AdminAuditStore(connection).insert_line(now, actor, "grant", client_id, **given.as_document())
    stands = (given.credits, given.effective_at, given.expires_at, given.priority, given.source, given.note)
    if stands != (credits, effective_at or given.created_at, expires_at, priority, source, note):
        raise ReferenceReused(grant_id)
    return given


async def void(pool: asyncpg.Pool, client_id: str, grant_id: str, *, reason: str, actor: str) -> Grant:
    """Take what is left of a grant; what holds lie on stays theirs. A voided one again changes nothing.

    Raises GrantNotFound, or GrantEnded where it has expired or is used up.
    """
    async with _open(pool, client_id) as (connection, now):
        store = GrantStore(connection)
        await store.lay_spent(client_id)
        grant = await store.fetch(client_id, "grant", grant_id)
        if grant is None:
            raise GrantNotFound(grant_id)
        if grant.state in ("used", "expired"):
            raise GrantEnded(grant_id, grant.state)
        if grant.state in ("booked", "live"):
            await store.void(client_id, grant, reason=reason, actor=actor, now=now)
            await AdminAuditStore(connection).insert_line(
                now, actor, "void", client_id, grantId=grant_id, reason=reason
            )
            grant = await store.fetch(client_id, "grant", grant_id) or grant
        return grant


async def put_recurring(
    pool: asyncpg.Pool, client_id: str, recurring_id: str, terms: RecurringTerms, *, create: bool = False, actor: str
) -> RecurringGrant:
    """Set what a client is granted again and again; a change counts from the next period on.

    Beginning in the past it begins with the period under way. Raises InvalidRequest naming the field.
    """
    if len(recurring_id) > MAX_RECURRING_ID_CHARACTERS:
        raise InvalidRequest.field("recurringId", f"Must be {MAX_RECURRING_ID_CHARACTERS} characters or less.")
    if terms.ends_at is not None and terms.ends_at <= terms.starts_at:
        raise InvalidRequest.field("endsAt", "Must be after startsAt.")
    if terms.rollover_max is not None and not terms.expires_with_period:
        raise InvalidRequest.field("rollover", "Must not be there where grants never expire: nothing is left over.")
    async with _open(pool, client_id, create=create) as (connection, now):
        store = GrantStore(connection)
        before = {each.recurring_id: each for each in await store.list_recurring(client_id)}.get(recurring_id)
        if before is not None and before.terms == terms:
            return before
        await store.put_recurring(client_id, recurring_id, terms, actor=actor, now=now)
        # A period that is under way begins at once.
        await LedgerStore(connection).lock_account(client_id)
        put = {each.recurring_id: each for each in await store.list_recurring(client_id)}[recurring_id]
        await AdminAuditStore(connection).insert_line(
            now, actor, "put_recurring_grant", client_id, **put.as_document()
        )
        return put


async def list_recurring(pool: asyncpg.Pool, client_id: str) -> list[RecurringGrant]:
    """Return a client's recurring grants."""
    await LedgerStore(pool).require_known(client_id)
    return await GrantStore(pool).list_recurring(client_id)


async def refund(
    pool: asyncpg.Pool,
    client_id: str,
    refund_id: str,
    event_id: str,
    credits: int | None = None,
    *,
    reason: str,
    dry_run: bool = False,
    actor: str,
) -> Grant:
    """Give back credits of an event's charge, None for all of it, as a grant without expiry; quotas stay used.

    Raises EventNotCharged, RefundTooLarge where all refunds of it would be more than it was charged, or
    ReferenceReused.
    """
    async with _open(pool, client_id, dry_run=dry_run) as (connection, now):
        store = GrantStore(connection)
        given = await store.fetch(client_id, "refund", refund_id)
        if given is None:
            _, left = await count_refundable(connection, client_id, event_id)
            if not left or (credits or left) > left:
                raise RefundTooLarge(event_id, left)
            await store.lay_spent(client_id)
            given = await store.insert(
                *(client_id, "refund", refund_id, credits or left),
                event_id=event_id,
                priority=DEFAULT_PRIORITY,
                note=reason,
                actor=actor,
                now=now,
            )
            await AdminAuditStore(connection).insert_line(
                now, actor, "refund", client_id, refundId=refund_id, eventId=event_id, credits=given.credits
            )
    if (given.event_id, given.note) != (event_id, reason) or credits not in (None, given.credits):
        raise ReferenceReused(refund_id)
    return given


async def count_refundable(
    connection: asyncpg.Connection | asyncpg.Pool, client_id: str, event_id: str
) -> tuple[int, int]:
    """Return what an event was charged, and how much of it was not refunded so far. Raises EventNotCharged."""
    charged = await LedgerStore(connection).fetch_charged_credits(client_id, event_id)
    if charged is None:
        raise EventNotCharged(event_id)
    return charged, charged - await GrantStore(connection).sum_refunds(client_id, event_id)


async def adjust(
    pool: asyncpg.Pool,
    client_id: str,
    adjustment_id: str,
    credits: int,
    *,
    reason: str,
    create: bool = False,
    actor: str,
) -> LedgerEntry:
    """Correct a client's credits up or down, and return the ledger entry.

    Raises InsufficientCredits where it would take what is available below zero, or ReferenceReused.
    """
    async with _open(pool, client_id, create=create) as (connection, now):
        grants, ledger = GrantStore(connection), LedgerStore(connection)
        entry = await ledger.fetch_entry(client_id, "adjust", adjustment_id)
        if entry is None:
            await grants.lay_spent(client_id)
            if credits > 0:
                await grants.insert(
                    *(client_id, "adjust", adjustment_id, credits),
                    priority=DEFAULT_PRIORITY,
                    note=reason,
                    actor=actor,
                    now=now,
                )
            elif await ledger.take_adjusted(client_id, adjustment_id, -credits, reason=reason, actor=actor, now=now):
                await grants.draw(client_id, -credits)
            else:
                raise InsufficientCredits
            await AdminAuditStore(connection).insert_line(
                now, actor, "adjust", client_id, adjustmentId=adjustment_id, credits=credits, reason=reason
            )
            entry = await ledger.fetch_entry(client_id, "adjust", adjustment_id)
    if entry is None or (entry.credits, entry.note) != (credits, reason):
        raise ReferenceReused(adjustment_id)
    return entry


@asynccontextmanager
async def _open(
    pool: asyncpg.Pool, client_id: str, *, create: bool = False, dry_run: bool = False
) -> AsyncIterator[tuple[asyncpg.Connection, datetime]]:
    """Lend a connection, in a transaction that has locked the account and moved it on, and its moment."""
    async with (
        pool.acquire(client_id=client_id) as connection,
        open_transaction(connection, dry_run=dry_run),
    ):
        store = LedgerStore(connection)
        if not create:
            await store.require_known(client_id)
        yield connection, await store.lock_account(client_id)
