"""Settle and release: close holds, once it is known whether the fact happened."""

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from metering_service.events.event import BillableEvent, Settlement, split_repeated
from metering_service.events.hold_store import RETRYABLE, HoldStore
from service_chassis.batching import Batcher
from service_chassis.clock import Clock
from service_chassis.operations.metrics import Metrics


class SettleEvents:
    """Charges facts, gathered: again and again the same answer, one ledger line an event."""

    def __init__(self, holds: HoldStore, *, clock: Clock, metrics: Metrics) -> None:
        self._holds = holds
        self._clock = clock
        sizes = metrics.size_histogram("metering_settle_batch_events", "Events settled in one statement.")
        self._charged = metrics.counter("metering_charged", "Events charged.", ["late"])
        self._batcher = Batcher(self._settle_batch, isolate_on=RETRYABLE, observe_size=sizes.observe)

    async def __call__(self, events: Sequence[BillableEvent]) -> list[Settlement]:
        """Charge `events`, each for itself; answer in order. Raises OSError, TimeoutError or PostgresError."""
        return await self._batcher.submit_all(events)

    async def _settle_batch(self, events: list[BillableEvent]) -> list[Settlement]:
        settlements: dict[int, Settlement] = {}
        settled: set[str] = set()
        pending = list(range(len(events)))
        while pending:
            # One statement charges an event once, and for a hold one event; whoever names either again finds what the
            # statement before has made of it. Nothing more is charged for what is settled: all of that goes together.
            indexes = [index for index in pending if events[index].event_id in settled]
            if indexes:
                pending = [index for index in pending if events[index].event_id not in settled]
            else:
                indexes, pending = split_repeated(pending, events)
            batch = [events[index] for index in indexes]
            rows = await self._holds.settle_events(batch, self._clock())
            charged: Counter[bool] = Counter()
            for index, event, (state, credit, late, is_charged) in zip(indexes, batch, rows, strict=True):
                settlements[index] = Settlement(event.hold_id, event.event_id, state, credit, late)
                if state == "settled":
                    settled.add(event.event_id)
                if is_charged:
                    charged[late] += 1
            for late, number in charged.items():
                self._charged.labels(str(late).lower()).inc(number)
        return [settlements[index] for index in range(len(events))]


class ReleaseHolds:
    """Gives back what was held for facts that did not happen, gathered."""

    def __init__(self, holds: HoldStore, *, clock: Clock) -> None:
        self._holds = holds
        self._clock = clock
        self._batcher = Batcher(self._release_batch, isolate_on=RETRYABLE)

    async def __call__(self, hold_ids: Sequence[UUID]) -> list[str]:
        """Release `hold_ids`; answer the state of each, in order: `released`, or `settled`, which it stays."""
        return await self._batcher.submit_all(hold_ids)

    async def _release_batch(self, hold_ids: list[UUID]) -> list[str]:
        states = await self._holds.release_holds(hold_ids, self._clock())
        return [states[hold_id] for hold_id in hold_ids]
