"""Tell metering what happened, and take note of what it says."""

from collections.abc import Sequence

import structlog

from activity_service.billing.event import BillableEvent
from activity_service.billing.metering_client import MeteringClient
from activity_service.billing.outbox_store import LockedEvents
from activity_service.errors import MeteringRefusedCall, MeteringUnavailable
from activity_service.metrics import ActivityMetrics
from service_chassis.clock import Clock

_MAX_STATE_CHARACTERS = 40
_log = structlog.get_logger(__name__)


class SettleEvents:
    """Sends events that happened and notes each one's outcome: settled, later again, or parked.

    An event that metering refuses for good is parked and counted, never dropped, and never in its neighbours' way.
    """

    def __init__(self, metering: MeteringClient, *, clock: Clock, metrics: ActivityMetrics) -> None:
        self._metering = metering
        self._clock = clock
        self._metrics = metrics

    async def __call__(self, locked: LockedEvents) -> bool:
        """Settle all of `locked`. False when metering gave no usable answer, so that it is better to wait."""
        return await self._settle(locked, locked.events)

    async def _settle(self, locked: LockedEvents, events: Sequence[BillableEvent]) -> bool:
        if not events:
            return True
        self._metrics.batch_sizes.labels("settle").observe(len(events))
        try:
            states = await self._metering.settle(events)
        except MeteringRefusedCall:
            return await self._settle_apart(locked, events)
        except MeteringUnavailable:
            await locked.postpone(events, "metering unavailable", self._clock())
            self._metrics.settlements.labels("postponed").inc(len(events))
            return False
        await self._note(locked, events, states)
        return True

    async def _settle_apart(self, locked: LockedEvents, events: Sequence[BillableEvent]) -> bool:
        """Find which of `events` metering does not even read, by halves."""
        if len(events) == 1:
            await self._park(locked, events[0], "call refused")
            return True
        middle = len(events) // 2
        first = await self._settle(locked, events[:middle])
        return await self._settle(locked, events[middle:]) and first

    async def _note(self, locked: LockedEvents, events: Sequence[BillableEvent], states: Sequence[str]) -> None:
        answered = list(zip(events, states, strict=True))
        settled = [event for event, state in answered if state == "settled"]
        if settled:
            await locked.mark_settled(settled, self._clock())
            self._metrics.settlements.labels("settled").inc(len(settled))
        for event, state in answered:
            if state != "settled":
                await self._park(locked, event, f"state {state[:_MAX_STATE_CHARACTERS]}")

    async def _park(self, locked: LockedEvents, event: BillableEvent, reason: str) -> None:
        await locked.park([event], reason, self._clock())
        self._metrics.settlements.labels("parked").inc()
        _log.error("settle_refused", event_id=event.event_id, hold_id=str(event.hold_id), reason=reason)
