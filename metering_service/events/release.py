"""Release (void): give back what was held, once it is known that the fact did not happen."""

from collections.abc import Sequence

import asyncpg

from metering_service.events.event import NOT_DECIDED, Release, ReleasedEvent
from metering_service.events.isolation import Isolated


class ReleaseHolds:
    """Gives back holds, each for itself."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._isolated: dict[str, Isolated[ReleasedEvent, Release]] = {}

    async def release(self, events: Sequence[ReleasedEvent], *, service: str) -> list[Release]:
        """Release the holds of `events`, which are `service`'s, no hold twice; return the state of each, in order.

        Raises OSError, TimeoutError or PostgresError.
        """
        isolated = self._isolated.get(service)
        if isolated is None:
            isolated = self._isolated[service] = Isolated(
                self._pool, lambda store, events: store.release(events, service=service), "release"
            )
        return [outcome or Release("error", NOT_DECIDED) for outcome in await isolated.run(events)]
