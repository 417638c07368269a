"""The relay (outbox publisher): has metering charge what happened, again and again until it says so."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import asyncpg
import structlog

from metering_client.client import MeteringClient
from metering_client.errors import MeteringFault, MeteringRefusedCall, MeteringUnavailable
from metering_client.event import BillableEvent
from metering_client.metrics import BillingMetrics
from metering_client.outbox_store import BATCH_EVENTS, OutboxStore

GATHER_SECONDS = 0.02
"""How long a charge waits for others after its commit. Requests that follow each other share a round, instead of each
having a statement here, a call and a commit there beside it."""
WATCH_INTERVAL_SECONDS = 5.0
MAX_REMEMBERED_EVENTS = 10_000
"""Committed events in memory. What is beyond, or is lost with the process, is found in the outbox after its lease."""
MAX_STATE_CHARACTERS = 40
"""Of what metering calls a state, which may be any text, in logs and in the outbox."""
NO_HOLD = "00000000-0000-0000-0000-000000000000"
"""Before every hold's id."""
MAX_FAILED_CALLS = 40
"""Of one batch; enough to find four bad events among 500. What is not found by then waits for the next round."""

NOT_NOW = "error"
"""What metering says of an event that it could not charge or release now, and what is said of one it was not told."""
NOT_READ = "refused call"
"""What is said of an event that metering does not even read."""

Call = Callable[[Sequence[BillableEvent]], Awaitable[Sequence[str]]]
"""Tells metering of events and returns the state of each, in order."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Relay:
    """Settles what this process has committed, from memory, and what it finds due in the outbox, batch after batch.

    Any number may run, in any number of processes, and none holds a transaction or a lock while metering is asked. A
    crash anywhere in it repeats a settle at the worst, and a repeated settle charges nothing. An event that metering
    refuses for good is parked (dead-lettered) and counted, never dropped, and never in its neighbours' way.
    """

    pool: asyncpg.Pool
    metering: MeteringClient
    metrics: BillingMetrics
    _committed: deque[BillableEvent] = field(default_factory=deque)

    def remember(self, event: BillableEvent) -> None:
        """Take note of an event that was committed with its fact: the next round settles it."""
        if len(self._committed) < MAX_REMEMBERED_EVENTS:
            self._committed.append(event)

    async def settle_committed(self) -> None:
        """Settle what this process has committed since the last round."""
        while self._committed:
            size = min(BATCH_EVENTS, len(self._committed))
            await self.settle([self._committed.popleft() for _ in range(size)])

    async def settle_due(self) -> None:
        """Settle what is due in the outbox: left behind by a process that died, or postponed."""
        after = NO_HOLD
        while True:
            events = await OutboxStore(self.pool).claim_due(after)
            if events:
                await self.settle(events)
                after = events[-1].hold_id
            if len(events) < BATCH_EVENTS:
                return

    async def settle(self, events: Sequence[BillableEvent]) -> None:
        """Tell metering that `events` happened, and note each outcome: settled, later, parked."""
        self.metrics.batch_sizes.labels("settle").observe(len(events))
        states = await self._tell(events)
        unknown = [event for event, state in zip(events, states, strict=True) if state == "unknown"]
        if unknown:
            # Metering was restored to a moment before it held them: told whole, they are charged all the same.
            told = dict(zip((event.hold_id for event in unknown), await self._tell(unknown, whole=True), strict=True))
            states = [told.get(event.hold_id, state) for event, state in zip(events, states, strict=True)]
        await self._note(events, states)

    async def _tell(self, events: Sequence[BillableEvent], *, whole: bool = False) -> Sequence[str]:
        return await call_by_halves(partial(self.metering.settle, whole=whole), events)

    async def _note(self, events: Sequence[BillableEvent], states: Sequence[str]) -> None:
        by_state: dict[str, list[str]] = {}
        for event, state in zip(events, states, strict=True):
            by_state.setdefault(state, []).append(event.hold_id)
        settled, later = by_state.pop("settled", []), by_state.pop(NOT_NOW, [])
        async with self.pool.acquire() as connection:
            store = OutboxStore(connection)
            if settled:
                await store.delete_settled(settled)
                self.metrics.settlements.labels("settled").inc(len(settled))
            if later:
                await store.postpone(later, "metering could not charge it now")
                self.metrics.settlements.labels("postponed").inc(len(later))
            if by_state:
                for event, state in zip(events, states, strict=True):
                    if state in by_state:
                        await self._park(store, event, f"state {state[:MAX_STATE_CHARACTERS]}")

    async def _park(self, store: OutboxStore, event: BillableEvent, reason: str) -> None:
        if await store.park(event, reason):
            return  # told when it was parked: each round of the sweeper finds its hold again
        self.metrics.settlements.labels("parked").inc()
        _log.error("settle_refused", event_id=event.event_id, hold_id=event.hold_id, reason=reason)

    async def watch_once(self) -> None:
        """Read how much is waiting into the gauges that alerts stand on.

        Not a part of settling: they must be true also while metering is away and nothing is settled.
        """
        state = await OutboxStore(self.pool).fetch_state()
        self.metrics.unsettled.set(state.unsettled)
        self.metrics.oldest_unsettled.set(max(state.oldest_age_seconds or 0.0, 0.0))
        self.metrics.parked.set(state.parked)


async def call_by_halves(call: Call, events: Sequence[BillableEvent]) -> list[str]:
    """Return the state of each of `events`, in order: metering's word, NOT_NOW or NOT_READ.

    A call that metering refuses or that fails there is repeated by halves, clients together, down to the event. One
    that metering did not respond to is not: it says nothing about its events.
    """
    states = [NOT_NOW] * len(events)
    waiting = [sorted(range(len(events)), key=lambda index: events[index].client_id)]
    failed_calls = 0
    while waiting and failed_calls < MAX_FAILED_CALLS:
        indexes = waiting.pop()
        try:
            told = await call([events[index] for index in indexes])
        except (MeteringFault, MeteringRefusedCall) as error:
            failed_calls += 1
            if len(indexes) > 1:
                middle = len(indexes) // 2
                waiting += [indexes[middle:], indexes[:middle]]
                continue
            told = [NOT_READ if isinstance(error, MeteringRefusedCall) else NOT_NOW]
        except MeteringUnavailable:
            break  # the rest would wait out its time, too
        for index, state in zip(indexes, told, strict=True):
            states[index] = state
    return states
