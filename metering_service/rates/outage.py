"""Rates that fail open: said once a reason, by metric and log, until all that mends it is done."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from metering_service.metrics import MeteringMetrics
from service_chassis.operations.logging import list_kinds, log_fault

_log = structlog.get_logger(__name__)


class Outage:
    """From the first fault until the last task that mends is done, requests may pass their rates unchecked."""

    def __init__(self, metrics: MeteringMetrics) -> None:
        self._mending: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._since: float | None = None
        self._told: set[tuple[str, ...]] = set()
        self._gauge = metrics.rates_failing_open

    def begin(self, error: BaseException) -> None:
        """Say why requests pass unchecked from now on, and each further reason once."""
        if self._since is None:
            self._since = asyncio.get_running_loop().time()
            self._gauge.set_to_current_time()
        kinds = tuple(list_kinds(error))
        if kinds not in self._told:
            self._told.add(kinds)
            log_fault("rates_fail_open", error, variable="METERING_REDIS_URL")

    def mend(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Do `work` beside the requests; the outage lasts until all such work is done. None once it is closed."""
        if self._is_closed:
            work.close()
            return None
        task = asyncio.create_task(work)
        self._mending.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[None]) -> None:
        self._mending.discard(task)
        if self._mending or self._is_closed or self._since is None:
            return
        seconds = asyncio.get_running_loop().time() - self._since
        self._since = None
        self._told.clear()
        self._gauge.set(0)
        _log.info("rates_checked_again", after_seconds=round(seconds, 1))

    async def aclose(self) -> None:
        """Give up what is being mended."""
        self._is_closed = True
        for task in tuple(self._mending):
            task.cancel()
        await asyncio.gather(*self._mending, return_exceptions=True)
