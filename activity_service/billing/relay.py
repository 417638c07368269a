"""The relay (outbox publisher): settles (captures) what is in the outbox, until metering has acknowledged it."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import structlog

from activity_service.billing.event import BillableEvent
from activity_service.billing.metering_client import MeteringClient
from activity_service.billing.outbox_store import BATCH_EVENTS, OutboxStore
from activity_service.errors import MeteringRefusedCall, MeteringUnavailable
from activity_service.metrics import ActivityMetrics
from service_chassis.clock import Clock

GATHER_SECONDS = 0.02
"""How long a charge waits for others after its commit. Requests that follow each other share a round, instead of each
having a transaction here, a call and a commit there beside it."""
WATCH_INTERVAL_SECONDS = 5.0
MAX_STATE_CHARACTERS = 40
"""Of what metering calls a state, which may be any text, in logs and in the outbox."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Relay:
    """Takes events from the outbox, batch after batch. Any number may run, in any number of processes.

    A crash anywhere in it repeats a settle at the worst, and a repeated settle charges nothing. An event that
    metering refuses for good is parked (dead-lettered) and counted, never dropped, and never in its neighbours' way.
    """

    pool: asyncpg.Pool
    metering: MeteringClient
    clock: Clock
    metrics: ActivityMetrics

    async def run_once(self) -> None:
        """Settle all that is due; stop early when metering does not respond, which the backoff takes note of."""
        while True:
            async with self.pool.acquire() as connection, connection.transaction():
                store = OutboxStore(connection)
                events = await store.lock_due(self.clock())
                is_usable = await self.settle(store, events)
            if not is_usable or len(events) < BATCH_EVENTS:
                return

    async def settle(self, store: OutboxStore, events: Sequence[BillableEvent]) -> bool:
        """Tell metering that `events`, which `store` has locked, happened; note each outcome: settled, later, parked.

        False when metering gave no usable response, so that it is better to wait.
        """
        if not events:
            return True
        self.metrics.batch_sizes.labels("settle").observe(len(events))
        try:
            states = await self.metering.settle(events)
        except MeteringRefusedCall:
            return await self._settle_apart(store, events)
        except MeteringUnavailable:
            await store.postpone(events, "metering unavailable", self.clock())
            self.metrics.settlements.labels("postponed").inc(len(events))
            return False
        settled = [event for event, state in zip(events, states, strict=True) if state == "settled"]
        if settled:
            await store.mark_settled(settled, self.clock())
            self.metrics.settlements.labels("settled").inc(len(settled))
        for event, state in zip(events, states, strict=True):
            if state != "settled":
                await self._park(store, event, f"state {state[:MAX_STATE_CHARACTERS]}")
        return True

    async def _settle_apart(self, store: OutboxStore, events: Sequence[BillableEvent]) -> bool:
        """Find which of `events` metering does not even read, by halves."""
        if len(events) == 1:
            await self._park(store, events[0], "call refused")
            return True
        middle = len(events) // 2
        first = await self.settle(store, events[:middle])
        return await self.settle(store, events[middle:]) and first

    async def _park(self, store: OutboxStore, event: BillableEvent, reason: str) -> None:
        await store.park([event], reason, self.clock())
        self.metrics.settlements.labels("parked").inc()
        _log.error("settle_refused", event_id=event.event_id, hold_id=str(event.hold_id), reason=reason)

    async def watch_once(self) -> None:
        """Read how much is waiting into the gauges that alerts stand on.

        Not a part of settling: they must be true also while metering is away and nothing is settled.
        """
        async with self.pool.acquire() as connection:
            state = await OutboxStore(connection).fetch_state()
        oldest = state.oldest_created_at
        age_seconds = 0.0 if oldest is None else max((self.clock() - oldest).total_seconds(), 0.0)
        self.metrics.unsettled.set(state.unsettled)
        self.metrics.oldest_unsettled.set(age_seconds)
        self.metrics.parked.set(state.parked)
