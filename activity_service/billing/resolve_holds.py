"""Decide what becomes of holds whose request is not known to have ended: the fence knows."""

from collections.abc import Sequence
from uuid import UUID

import structlog

from activity_service.billing.event import BillableEvent, Fate
from activity_service.billing.metering_client import MeteringClient
from activity_service.billing.outbox_store import BillableEventStore
from activity_service.billing.settle_events import SettleEvents
from activity_service.metrics import ActivityMetrics
from service_chassis.clock import Clock

_log = structlog.get_logger(__name__)


class ResolveHolds:
    """Closes holds at metering by what stands in the fence: happened, then settle; abandoned, then release.

    Whoever comes second gives way: a request that commits first keeps its hold, and one that comes after us
    finds it abandoned. A crash between abandoning and releasing is mended by the next round.
    """

    def __init__(
        self,
        store: BillableEventStore,
        metering: MeteringClient,
        settle: SettleEvents,
        *,
        clock: Clock,
        metrics: ActivityMetrics,
    ) -> None:
        self._store = store
        self._metering = metering
        self._settle = settle
        self._clock = clock
        self._resolved = metrics.holds_resolved

    async def __call__(self, events: Sequence[BillableEvent]) -> None:
        """Resolve the holds of `events`, up to 500. Raises MeteringUnavailable, or what the database raises."""
        if not events:
            return
        fates = await self._store.insert_abandoned(events, self._clock())
        abandoned = [event.hold_id for event in events if fates[event.hold_id] is Fate.ABANDONED]
        happened = [event.hold_id for event in events if fates[event.hold_id] is Fate.HAPPENED]
        if abandoned:
            await self._release(abandoned)
        if happened:
            async with self._store.lock_happened(happened) as locked:
                await self._settle(locked)
            self._resolved.labels("settled").inc(len(locked.events))

    async def _release(self, hold_ids: Sequence[UUID]) -> None:
        states = await self._metering.release(hold_ids)
        for hold_id, state in zip(hold_ids, states, strict=True):
            self._resolved.labels("released" if state == "released" else "contradicted").inc()
            if state != "released":
                # Nothing happened for this hold, and yet metering charged it. Nobody but a person can say why.
                _log.error("abandoned_hold_not_released", hold_id=str(hold_id), state=state[:40])
