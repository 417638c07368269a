"""The clients' callers: dozens of connections that want the last credits, and ask again until they know."""

import asyncio
import contextlib
import itertools
import random
from collections import defaultdict

import aiohttp

from local_stack.errors import StackError
from prove.counting import REFUSED
from prove.history import Attempt, History
from prove.rest import UNREACHABLE
from prove.shop import Shop

CLIENTS = tuple(f"client-{number}" for number in range(1, 9))
CALLERS_PER_CLIENT = 6
"""That want a play each, at once, when their client has got its credits."""
LAST_CREDITS = 3
"""What a client gets at a time: half of what its callers want."""
PLENTY = 9
"""What the clients in plenty get at a time: more than their callers want, so that they never run out."""
IN_PLENTY = ("client-5", "client-6")
REQUEST_TIMEOUT_SECONDS = 3.0
GIVE_TIMEOUT_SECONDS = 60.0
PATIENCE_SECONDS = 15.0
"""Long enough, with nothing broken any more, for whoever is in doubt to be told."""
RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 1.5
"""The wait before asking again doubles from the one to the other, as it should, and is drawn from half of it on."""
ROUND_SECONDS = (0.0, 0.1)
"""Between the last answer to a client's callers and its next credits."""


class Callers:
    """Sells out every client, again and again, until stop()."""

    def __init__(self, shop: Shop, session: aiohttp.ClientSession, history: History, rng: random.Random) -> None:
        self.given: defaultdict[str, int] = defaultdict(int)
        """The plays that each client may have by now; raised before its credits are asked for."""
        self.rush = asyncio.Event()
        """Is set while at least CALLERS_PER_CLIENT requests are sent and not answered."""
        self._waiting = 0
        self.acknowledged = asyncio.Condition()
        """Is notified when a caller is told that its play is there."""
        self._shop = shop
        self._session = session
        self._history = history
        self._rng = rng
        self._operations = itertools.count(1)
        self._gives_up_at: float | None = None

    async def run(self) -> None:
        """Work until stop(). Raises StackError when a client cannot be given credits."""
        async with asyncio.TaskGroup() as group:
            for client_id in CLIENTS:
                group.create_task(self._sell_out(client_id))

    def stop(self) -> None:
        """Begin no other round; callers of those under way ask until they know, for PATIENCE_SECONDS."""
        self._gives_up_at = asyncio.get_running_loop().time() + PATIENCE_SECONDS

    async def _sell_out(self, client_id: str) -> None:
        for round_number in itertools.count(1):
            credits = PLENTY if client_id in IN_PLENTY else LAST_CREDITS
            self.given[client_id] += credits
            await self._give(client_id, round_number, credits)
            await asyncio.gather(*[self._buy(client_id) for _ in range(CALLERS_PER_CLIENT)])
            if self._gives_up_at is not None:
                return
            await asyncio.sleep(self._rng.uniform(*ROUND_SECONDS))

    async def _give(self, client_id: str, round_number: int, credits: int) -> None:
        try:
            async with asyncio.timeout(GIVE_TIMEOUT_SECONDS):
                for tries in itertools.count():
                    with contextlib.suppress(*UNREACHABLE):
                        await self._shop.give(client_id, round_number, credits, self.given[client_id])
                        return
                    await self._back_off(tries)
        except TimeoutError:
            raise StackError(f"{client_id} could not be given credits for {GIVE_TIMEOUT_SECONDS:g} s") from None

    async def _buy(self, client_id: str) -> None:
        """Want one play: ask with one Idempotency-Key until it is there or refused, or patience ends."""
        operation = f"play-{next(self._operations)}"
        for tries in itertools.count():
            attempt = self._history.begin(operation, "create", client_id, key=operation)
            await self._send(attempt)
            if attempt.status == 201:
                async with self.acknowledged:
                    self.acknowledged.notify_all()
            if attempt.status in (201, REFUSED) or self._has_no_patience_left():
                return
            await self._back_off(tries)

    def _has_no_patience_left(self) -> bool:
        return self._gives_up_at is not None and asyncio.get_running_loop().time() > self._gives_up_at

    async def _back_off(self, tries: int) -> None:
        longest = min(RETRY_SECONDS * 2**tries, LONGEST_RETRY_SECONDS)
        await asyncio.sleep(self._rng.uniform(longest / 2, longest))

    async def _send(self, attempt: Attempt) -> None:
        url = f"{self._shop.url(self._rng.choice(self._shop.sellers))}/api/plan-plays"
        body = {"planId": "plan-abc-123", "displayName": attempt.operation}
        headers = {
            "Authorization": f"Bearer {self._shop.token(attempt.client_id)}",
            "Idempotency-Key": attempt.operation,
        }
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS)
        self._wait(1)
        try:
            async with self._session.post(url, json=body, headers=headers, timeout=timeout) as response:
                self._history.end(attempt, response.status, await response.json())
        except UNREACHABLE as error:
            self._history.end(attempt, None, fault=type(error).__name__)
        finally:
            self._wait(-1)

    def _wait(self, more: int) -> None:
        self._waiting += more
        if self._waiting >= CALLERS_PER_CLIENT:
            self.rush.set()
        else:
            self.rush.clear()
