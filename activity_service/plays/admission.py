"""How much is taken on at once, so that what is taken on is also finished in time, and for everybody."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from types import TracebackType

from activity_service.errors import Overloaded
from activity_service.metrics import ActivityMetrics

SLOW_SECONDS = 1.0
"""A request that takes longer shows that too much is under way: half of what it may wait for metering."""
LEAST_LIMIT = 32
"""However slow all is, so much is tried at once: without any attempt it could not be seen to be fast again."""
WAIT_SECONDS = 1.0
"""How long a request waits for a place while clients with more than their share have all of them."""


class Admission:
    """A bound on the requests under way in this process that need the database.

    Beyond it a request would wait its deadline out in a queue and be answered 500 after having cost as much as one
    that succeeds. It is refused at once instead, before anything was asked or stored. How many are finished in time
    depends on what else the machine does, so the bound follows what is seen: halved by a slow one, once for all that
    were under way together, and raised by one by each quick one, up to `limit`.

    A client may have all places while no other wants any. While another waits, none gets more than half of them:
    whoever has less than that waits for the next place, and the others are refused.
    """

    def __init__(self, limit: int, metrics: ActivityMetrics, now: Callable[[], float] = time.monotonic) -> None:
        self._most = limit
        self._least = min(LEAST_LIMIT, limit)
        self._limit = limit
        self._under_way = 0
        self._of_client: Counter[str] = Counter()
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()
        self._lowered_at = float("-inf")
        self._now = now
        self._refused = metrics.overload_refusals

    def require_room(self, client_id: str) -> None:
        """Raise Overloaded when there is none for this client, and none to wait for.

        Takes no place: a caller that sends its body slowly must hold none.
        """
        if self._under_way < self._limit and not self._waiting:
            return
        share = max(1, self._limit // 2)
        # Whoever has less than its share waits for those who have more to end; without any of them nobody waits.
        may_wait = self._of_client[client_id] < share < max(self._of_client.values()) + 1
        if not may_wait or len(self._waiting) >= self._most:
            self._refused.inc()
            raise Overloaded

    def take_place(self, client_id: str) -> "_Place":
        """Count as under way within `async with`. Raises Overloaded when there is no room."""
        return _Place(self, client_id)

    async def enter(self, client_id: str) -> float:
        """Take a place, which `leave` gives back, and return the moment, in seconds of the monotonic clock.

        Waits for a place where the client has less than its share.
        """
        if self._under_way < self._limit and not self._waiting:
            self._under_way += 1
        else:
            self.require_room(client_id)
            await self._await_turn(client_id)
        self._of_client[client_id] += 1
        return self._now()

    async def _await_turn(self, client_id: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (client_id, turn)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turn
        except BaseException as error:
            if entry in self._waiting:
                self._waiting.remove(entry)
            elif turn.done() and not turn.cancelled():
                self._pass_on()  # it was our turn when we were cancelled
            if isinstance(error, TimeoutError):
                self._refused.inc()
                raise Overloaded from None
            raise

    def leave(self, client_id: str, began: float) -> None:
        """Give a place back that was taken at `began`."""
        if self._of_client[client_id] == 1:
            del self._of_client[client_id]
        else:
            self._of_client[client_id] -= 1
        now = self._now()
        if now - began > SLOW_SECONDS:
            self._lower(began, now)
        elif self._limit < self._most:
            self._limit += 1
        self._pass_on()

    def _pass_on(self) -> None:
        """Let the next one have a place that came free."""
        while self._waiting and self._under_way <= self._limit:
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # the place stays counted, for whoever waited
                return
        self._under_way -= 1

    def _lower(self, began: float, now: float) -> None:
        """Take on half as much, once for all that were under way together."""
        if began >= self._lowered_at:
            self._limit = max(self._least, self._limit // 2)
            self._lowered_at = now


class _Place:
    """One place, from `async with` to its end."""

    __slots__ = ("_admission", "_began", "_client_id")

    def __init__(self, admission: Admission, client_id: str) -> None:
        self._admission = admission
        self._client_id = client_id

    async def __aenter__(self) -> None:
        self._began = await self._admission.enter(self._client_id)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.leave(self._client_id, self._began)
