"""Whether metering answers to our service key, asked now and then: a wrong one must not first show in creates."""

from dataclasses import dataclass, field

import structlog

from activity_service.billing.metering_client import MeteringClient
from activity_service.errors import MeteringUnavailable
from activity_service.metrics import ActivityMetrics

CHECK_INTERVAL_SECONDS = 60.0
NO_HOLDS_AGE_SECONDS = 10**8
"""An age that no hold has: a list of such holds needs the key, and costs metering nothing."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class MeteringCheck:
    """Asks metering at the start and every minute, into a metric, and logs what changed.

    Metering away is no reason to leave rotation: plays are still read.
    """

    metering: MeteringClient
    metrics: ActivityMetrics
    _accepts: bool | None = field(default=None)

    async def run_once(self) -> None:
        """Ask once. Which status metering answered is in the client's own log line."""
        try:
            await self.metering.list_held(NO_HOLDS_AGE_SECONDS, None)
            accepts = True
        except MeteringUnavailable:
            accepts = False
        self.metrics.metering_accepts.set(accepts)
        if accepts != self._accepts and (self._accepts is not None or not accepts):
            (_log.info if accepts else _log.error)("metering_check", accepts_our_key=accepts)
        self._accepts = accepts
