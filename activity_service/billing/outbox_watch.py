"""Keep the outbox's gauges true, also while metering is away and nothing is settled."""

from activity_service.billing.outbox_store import BillableEventStore
from activity_service.metrics import ActivityMetrics
from service_chassis.clock import Clock

WATCH_INTERVAL_SECONDS = 5.0


class OutboxWatch:
    """Reads how much is waiting into the metrics that alerts stand on."""

    def __init__(self, store: BillableEventStore, *, clock: Clock, metrics: ActivityMetrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics

    async def run_once(self) -> None:
        """Look once."""
        state = await self._store.fetch_state()
        age = self._clock() - state.oldest_created_at if state.oldest_created_at is not None else None
        self._metrics.unsettled.set(state.unsettled)
        self._metrics.oldest_unsettled.set(max(age.total_seconds(), 0) if age is not None else 0)
        self._metrics.parked.set(state.parked)
