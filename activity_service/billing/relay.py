"""The relay: settles what is in the outbox, until metering has acknowledged it."""

from activity_service.billing.outbox_store import BATCH_EVENTS, BillableEventStore
from activity_service.billing.settle_events import SettleEvents
from service_chassis.clock import Clock

GATHER_SECONDS = 0.02
"""How long a charge waits for others after its commit. Requests that follow each other share a round, instead of each
having a transaction here, a call and a commit there beside it."""


class Relay:
    """Takes events from the outbox, batch after batch. Any number may run, in any number of processes.

    A crash anywhere in it repeats a settle at the worst, and a repeated settle charges nothing.
    """

    def __init__(self, store: BillableEventStore, settle: SettleEvents, *, clock: Clock) -> None:
        self._store = store
        self._settle = settle
        self._clock = clock

    async def run_once(self) -> None:
        """Settle all that is due; stop early when metering does not answer, which the backoff takes note of."""
        while True:
            async with self._store.lock_due(self._clock()) as locked:
                answered = await self._settle(locked)
            if not answered or len(locked.events) < BATCH_EVENTS:
                return
