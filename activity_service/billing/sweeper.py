"""The sweeper: looks for holds that requests left behind, and has them resolved."""

from activity_service.billing.event import OWN_EVENT_TYPES
from activity_service.billing.metering_answers import NonsenseAnswer
from activity_service.billing.metering_client import MeteringClient
from activity_service.billing.resolve_holds import ResolveHolds
from activity_service.metrics import ActivityMetrics


class Sweeper:
    """Goes through all of metering's old holds for facts of this service. Any number may run at once."""

    def __init__(
        self,
        metering: MeteringClient,
        resolve: ResolveHolds,
        *,
        older_than_seconds: int,
        metrics: ActivityMetrics,
    ) -> None:
        self._metering = metering
        self._resolve = resolve
        self._older_than_seconds = older_than_seconds
        self._resolved = metrics.holds_resolved
        self._left_behind = metrics.holds_left_behind

    async def run_once(self) -> None:
        """Resolve every old hold of ours, page after page. Others' are counted and left alone."""
        cursor: str | None = None
        found = 0
        while True:
            page = await self._metering.list_held(self._older_than_seconds, cursor)
            own = [event for event in page.events if event.event_type in OWN_EVENT_TYPES]
            self._resolved.labels("not ours").inc(len(page.events) - len(own))
            found += len(own)
            self._left_behind.set(found)
            await self._resolve(own)
            if page.next_cursor is None:
                return
            if page.next_cursor == cursor:
                raise NonsenseAnswer("a page that is followed by itself")
            cursor = page.next_cursor
