"""Give a hold back at once when its request is certain that it never used it."""

import asyncio

from activity_service.billing.event import BillableEvent
from activity_service.billing.resolve_holds import ResolveHolds
from service_chassis.operations.logging import log_fault

GIVE_UP_TIMEOUT_SECONDS = 2.0
"""The caller waits for it, and an error it has already: what takes longer is the sweeper's."""


class GiveUpHold:
    """Resolves a hold the way the sweeper does: through the fence, since another request may share it."""

    def __init__(self, resolve: ResolveHolds) -> None:
        self._resolve = resolve

    async def __call__(self, event: BillableEvent) -> None:
        """Try it once. Never raises: what fails here, the sweeper does later."""
        try:
            async with asyncio.timeout(GIVE_UP_TIMEOUT_SECONDS):
                await self._resolve([event])
        except Exception as error:
            log_fault("give_up_hold_failed", error, event_id=event.event_id)
