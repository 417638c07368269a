"""Work that goes on beside the requests, round after round, whatever happens in one of them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from activity_service.metrics import ActivityMetrics
from service_chassis.operations.logging import log_fault

BACKOFF_LIMIT_SECONDS = 15.0
_MAX_DOUBLINGS = 10


class BackgroundTask:
    """Runs `step` at once, then every `interval_seconds`, and whenever it is kicked.

    A kick begins a round `gather_seconds` later, so that what others have to do by then is in the same round.
    A step that fails is logged, counted and tried again after a pause that doubles up to 15 s; kicks do not
    shorten that pause.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], Awaitable[None]],
        *,
        interval_seconds: float,
        gather_seconds: float = 0.0,
        metrics: ActivityMetrics,
    ) -> None:
        self._name = name
        self._step = step
        self._interval_seconds = interval_seconds
        self._gather_seconds = gather_seconds
        self._succeeded = metrics.background_rounds.labels(name, "done")
        self._failed = metrics.background_rounds.labels(name, "failed")
        self._kicked = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def kick(self) -> None:
        """Have a round begin soon: there is something to do."""
        self._kicked.set()

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self, grace_seconds: float) -> None:
        """Begin no more rounds; let the present one finish, up to `grace_seconds`, then cancel it."""
        self._stopping.set()
        self._kicked.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=grace_seconds)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._kicked.clear()
            try:
                await self._step()
                failures = 0
                self._succeeded.inc()
            except Exception as error:
                failures += 1
                self._failed.inc()
                log_fault("background_round_failed", error, task=self._name)
            await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        longer = self._interval_seconds * 2 ** min(failures, _MAX_DOUBLINGS)
        seconds = (
            min(longer, max(BACKOFF_LIMIT_SECONDS, self._interval_seconds)) if failures else self._interval_seconds
        )
        if failures:
            await _wait_at_most(self._stopping, seconds)
        elif await _wait_at_most(self._kicked, seconds) and self._gather_seconds:
            await _wait_at_most(self._stopping, self._gather_seconds)


async def _wait_at_most(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`; answer whether it came."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()
