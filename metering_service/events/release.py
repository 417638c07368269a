"""Release (void): give back what was held, once it is known that the fact did not happen."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from metering_service.events.hold_store import RETRYABLE, HoldStore
from service_chassis.batching import Batcher
from service_chassis.clock import Clock


class ReleaseHolds:
    """Gives back holds, gathered."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._batcher = Batcher(self._release_batch, isolate_on=RETRYABLE)

    async def release(self, hold_ids: Sequence[UUID]) -> list[str]:
        """Release `hold_ids`; return the state of each, in order: `released`, or `settled`, which it stays."""
        return await self._batcher.submit_all(hold_ids)

    async def _release_batch(self, hold_ids: list[UUID]) -> list[str]:
        async with self._pool.acquire() as connection:
            states = await HoldStore(connection).release_holds(hold_ids, self._clock())
        return [states[hold_id] for hold_id in hold_ids]
