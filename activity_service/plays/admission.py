"""How much billable work is taken on at once, so that what is taken on is also finished in time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from activity_service.errors import Overloaded
from activity_service.metrics import ActivityMetrics

SLOW_SECONDS = 1.0
"""A create that takes longer shows that too much is under way: half of what it may wait for metering."""
LEAST_LIMIT = 32
"""However slow all is, so much is tried at once: without any attempt it could not be seen to be fast again."""


class Admission:
    """A bound on the creates and first completions under way in this process.

    Beyond it a request would wait its deadline out in a queue and be answered 500 after having cost as much as one
    that succeeds. It is refused at once instead, before anything was asked or stored. How many are finished in time
    depends on what else the machine does, so the bound follows what is seen: halved by a slow one, once for all that
    were under way together, and raised by one by each quick one, up to `limit`.
    """

    def __init__(self, limit: int, metrics: ActivityMetrics, now: Callable[[], float] = time.monotonic) -> None:
        self._most = limit
        self._least = min(LEAST_LIMIT, limit)
        self._limit = limit
        self._under_way = 0
        self._lowered_at = float("-inf")
        self._now = now
        self._refused = metrics.overload_refusals

    def require_room(self) -> None:
        """Raise Overloaded when there is none. Takes no place: a caller that sends its body slowly must hold none."""
        if self._under_way >= self._limit:
            self._refused.inc()
            raise Overloaded

    @contextmanager
    def take_place(self) -> Iterator[None]:
        """Count as under way. Raises Overloaded when there is no room."""
        self.require_room()
        self._under_way += 1
        began = self._now()
        try:
            yield
        finally:
            self._under_way -= 1
            self._learn(began)

    def _learn(self, began: float) -> None:
        now = self._now()
        if now - began <= SLOW_SECONDS:
            self._limit = min(self._most, self._limit + 1)
        elif began >= self._lowered_at:
            self._limit = max(self._least, self._limit // 2)
            self._lowered_at = now
