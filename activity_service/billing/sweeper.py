"""The sweeper (reconciliation): decides what becomes of holds whose request is not known to have ended.

The fence (commit record) knows: what happened is settled (captured), what was given up is released (voided).
"""

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import structlog

from activity_service.billing.event import BillableEvent, Outcome
from activity_service.billing.metering_client import MeteringClient
from activity_service.billing.outbox_store import OutboxStore
from activity_service.billing.relay import MAX_STATE_CHARACTERS, Relay
from activity_service.errors import MalformedResponse
from activity_service.metrics import ActivityMetrics
from service_chassis.clock import Clock
from service_chassis.operations.logging import log_fault

GIVE_UP_TIMEOUT_SECONDS = 2.0
"""The caller waits for it, and an error it has already: what takes longer is left to the next search."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Closes holds at metering by what stands in the fence. Any number may run at once.

    Whoever comes second gives way: a request that commits first keeps its hold, and one that comes after us
    finds it abandoned. A crash between abandoning and releasing is mended by the next round. Only holds of
    `own_event_types` are touched: of others the fence says nothing.
    """

    pool: asyncpg.Pool
    metering: MeteringClient
    relay: Relay
    clock: Clock
    metrics: ActivityMetrics
    own_event_types: AbstractSet[str]
    older_than_seconds: int

    async def run_once(self) -> None:
        """Resolve every old hold of ours, page after page. Others' are counted and left alone."""
        cursor: str | None = None
        found = 0
        while True:
            page = await self.metering.list_held(self.older_than_seconds, cursor)
            own = [event for event in page.events if event.event_type in self.own_event_types]
            self.metrics.holds_resolved.labels("not ours").inc(len(page.events) - len(own))
            found += len(own)
            self.metrics.holds_left_behind.set(found)
            await self._resolve(own)
            if page.next_cursor is None:
                return
            if page.next_cursor == cursor:
                raise MalformedResponse("a page that is followed by itself")
            cursor = page.next_cursor

    async def give_up(self, event: BillableEvent) -> None:
        """Give a hold back at once whose request is certain that it never used it.

        Through the fence like any other, since another request may share it. Tried once, and never raises: what
        fails here is done by a later round.
        """
        try:
            async with asyncio.timeout(GIVE_UP_TIMEOUT_SECONDS):
                await self._resolve([event])
        except Exception as error:
            log_fault("give_up_hold_failed", error, event_id=event.event_id)

    async def _resolve(self, events: Sequence[BillableEvent]) -> None:
        """Resolve the holds of `events`, up to 500. Raises MeteringUnavailable, or what the database raises."""
        if not events:
            return
        async with self.pool.acquire() as connection:
            outcomes = await OutboxStore(connection).insert_abandoned(events, self.clock())
        abandoned = [event.hold_id for event in events if outcomes[event.hold_id] is Outcome.ABANDONED]
        happened = [event.hold_id for event in events if outcomes[event.hold_id] is Outcome.HAPPENED]
        if abandoned:
            await self._release(abandoned)
        if happened:
            async with self.pool.acquire() as connection, connection.transaction():
                store = OutboxStore(connection)
                locked = await store.lock_happened(happened)
                await self.relay.settle(store, locked)
            self.metrics.holds_resolved.labels("settled").inc(len(locked))

    async def _release(self, hold_ids: Sequence[UUID]) -> None:
        states = await self.metering.release(hold_ids)
        for hold_id, state in zip(hold_ids, states, strict=True):
            self.metrics.holds_resolved.labels("released" if state == "released" else "contradicted").inc()
            if state != "released":
                # Nothing happened for this hold, and yet metering charged it. Nobody but a person can say why.
                _log.error("abandoned_hold_not_released", hold_id=str(hold_id), state=state[:MAX_STATE_CHARACTERS])
