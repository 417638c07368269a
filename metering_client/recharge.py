"""Recharge: have facts charged that lack their charge, after metering was restored to an earlier moment."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import asyncpg
from uuid_utils import uuid7

from metering_client.audit import AuditFacts
from metering_client.charges_client import ChargesClient
from metering_client.event import BillableEvent, Fact
from metering_client.outbox_store import BATCH_EVENTS, OutboxStore

NoteAnnounced = Callable[[asyncpg.Connection, Sequence[str]], Awaitable[None]]
"""Told the clients of what was put into the outbox, in the transaction that does: for a trail of the caller's own."""


@dataclass(slots=True)
class Recharged:
    """How many facts lack their charge, and how many of them were put into the outbox again.

    `in_flight` lack it, too, and are left out: their charge may be on its way. Later they are found by another run.
    """

    uncharged: int = 0
    announced: int = 0
    in_flight: int = 0


async def recharge_facts(
    audit: AuditFacts,
    facts: AsyncIterator[Fact],
    charges: ChargesClient,
    *,
    dry_run: bool,
    note: NoteAnnounced | None = None,
) -> Recharged:
    """Put the facts without a charge into the outbox, with a new hold id each: they are charged late.

    A dry run counts them and changes nothing. Harmless twice, and for a fact that is charged meanwhile: an event is
    charged once. `facts` are sorted by event id; an erased user's come without the user, who is nobody's to be told
    of. They are read from a connection of their own while others are written. Raises ChargesUnreadable, OutOfOrder.
    """
    done = Recharged()
    batch: list[Fact] = []

    async def finish_batch() -> None:
        done.uncharged += len(batch)
        if batch and not dry_run:
            done.announced += await _announce(audit, batch, note)
        batch.clear()

    async for fact in audit.list_uncharged(facts, charges):
        if audit.is_in_flight(fact):
            done.in_flight += 1
            continue
        batch.append(fact)
        if len(batch) == BATCH_EVENTS:
            await finish_batch()
    await finish_batch()
    return done


async def _announce(audit: AuditFacts, facts: Sequence[Fact], note: NoteAnnounced | None) -> int:
    events = [
        BillableEvent(str(uuid7()), fact.event_id, fact.client_id, fact.event_type, fact.user_id, fact.units, fact.at)
        for fact in facts
    ]
    async with audit.pool.acquire() as connection, connection.transaction():
        client_ids = await OutboxStore(connection).insert_uncharged(events)
        if note is not None:
            await note(connection, client_ids)
        return len(client_ids)
