"""Whether metering lets our service key authorize events, asked now and then: a wrong one must not first show in
creates.
"""

import asyncio
import math
from dataclasses import dataclass, field

import aiohttp
import structlog

from metering_client.client import AUTHORIZE_PATH
from metering_client.metrics import BillingMetrics
from service_chassis.http.outgoing import describe_fault, show_address

CHECK_INTERVAL_SECONDS = 60.0
RECHECK_INTERVAL_SECONDS = 5.0
"""While metering does not accept our key: the two start together, and a mended key is to be seen soon."""
CHECK_TIMEOUT_SECONDS = 5.0
_NO_EVENT = {"dryRun": True, "events": [{}]}
"""Metering finds the one event invalid and decides nothing; but only for a key that may authorize does it look."""
_SAID = {
    200: "accepts our key",
    401: "does not know our key",
    403: "does not let our key authorize events: its scope is not events",
}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MeteringState:
    """How metering answers to our key. `words` go on after "metering ..."."""

    accepts: bool
    words: str


async def ask_metering(session: aiohttp.ClientSession, url: str, key: str) -> MeteringState:
    """Ask metering at `url` what creates will ask it, at no cost to it, and return how it answers to `key`."""
    try:
        async with session.post(
            url.rstrip("/") + AUTHORIZE_PATH,
            json=_NO_EVENT,
            headers={"Authorization": f"Bearer {key}"},
            timeout=aiohttp.ClientTimeout(total=CHECK_TIMEOUT_SECONDS),
            allow_redirects=False,
        ) as response:
            said = _SAID.get(response.status, "gives no usable answer")
            return MeteringState(response.status == 200, f"{said} (status {response.status})")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return MeteringState(False, f"cannot be reached: {describe_fault(error)}")


@dataclass(slots=True)
class MeteringCheck:
    """Asks metering at the start and every minute, sooner while it says no, into a metric; logs what changed.

    Metering away is no reason to leave rotation: plays are still read.
    """

    session: aiohttp.ClientSession
    url: str
    key: str
    metrics: BillingMetrics
    _told: MeteringState = field(default=MeteringState(True, ""))
    _asked_at: float = field(default=-math.inf)

    async def run_once(self) -> None:
        """Ask, if it is time to; log it when it is not as it was, and at first only what is wrong."""
        now = asyncio.get_running_loop().time()
        if self._told.accepts and now - self._asked_at < CHECK_INTERVAL_SECONDS:
            return
        self._asked_at = now
        state = await ask_metering(self.session, self.url, self.key)
        self.metrics.metering_accepts.set(state.accepts)
        if state != self._told and not (state.accepts and self._told.accepts):
            (_log.info if state.accepts else _log.error)(
                "metering_check",
                accepts_our_key=state.accepts,
                metering_url=show_address(self.url),
                found=state.words,
            )
        self._told = state
