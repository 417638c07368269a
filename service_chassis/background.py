"""Work that goes on beside the requests, round after round, whatever happens in one of them."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from prometheus_client import Counter

from service_chassis.operations.logging import log_fault

BACKOFF_LIMIT_SECONDS = 15.0
CLOSE_TIMEOUT_SECONDS = 3.0
"""How long, at the end, each may take: rounds under way, and the last one."""
_MAX_DOUBLINGS = 10


class BackgroundTask:
    """Runs `step` at once, then every `interval_seconds`, and whenever it is kicked.

    With `begins_within_seconds` the first round is at a random moment of that time: processes that are started
    together then do not all begin their seldom work at once. A kick begins a round `gather_seconds` later, so that
    what others have to do by then is in the same round. A step that fails is logged, counted (`rounds`, by task and
    outcome) and tried again after a pause that doubles up to 15 s; kicks do not shorten that pause.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], Awaitable[None]],
        *,
        interval_seconds: float,
        gather_seconds: float = 0.0,
        begins_within_seconds: float = 0.0,
        rounds: Counter,
    ) -> None:
        self._name = name
        self._step = step
        self._interval_seconds = interval_seconds
        self._gather_seconds = gather_seconds
        self._begins_within_seconds = begins_within_seconds
        self._succeeded = rounds.labels(name, "done")
        self._failed = rounds.labels(name, "failed")
        self._kicked = asyncio.Event()
        self._stopping = asyncio.Event()

    def kick(self) -> None:
        """Have a round begin soon: there is something to do."""
        self._kicked.set()

    def stop(self) -> None:
        """Begin no more rounds."""
        self._stopping.set()
        self._kicked.set()

    async def run(self) -> None:
        """Do round after round until stopped."""
        failures = 0
        if self._begins_within_seconds:
            await _wait_at_most(self._kicked, random.uniform(0, self._begins_within_seconds))  # noqa: S311 - no secret
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
        if failures:
            longer = self._interval_seconds * 2 ** min(failures, _MAX_DOUBLINGS)
            await _wait_at_most(self._stopping, min(longer, max(BACKOFF_LIMIT_SECONDS, self._interval_seconds)))
        elif await _wait_at_most(self._kicked, self._interval_seconds) and self._gather_seconds:
            await _wait_at_most(self._stopping, self._gather_seconds)


async def _wait_at_most(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`; return whether it came."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


@contextlib.asynccontextmanager
async def run_tasks(
    tasks: Sequence[BackgroundTask], last_round: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[None]:
    """Run the background work; at the end let it finish, then do `last_round` for what the last requests left."""
    running = [asyncio.create_task(task.run()) for task in tasks]
    try:
        yield
    finally:
        for task in tasks:
            task.stop()
        _, late = await asyncio.wait(running, timeout=CLOSE_TIMEOUT_SECONDS)
        for each in late:
            each.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                if last_round is not None:
                    await last_round()
        except Exception as error:
            log_fault("last_round_failed", error)
