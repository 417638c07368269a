"""Callers, operators and onlookers, at random: what a busy day does to the stack.

Long because it is everything that anybody does to the stack, a few lines each.
"""

import asyncio
import contextlib
import itertools
import random
from collections import deque
from typing import Any

import aiohttp

from prove.breakable_stack import ACTIVITIES
from prove.history import Attempt, History
from tests.faults.fault_stack import FaultStack
from tests.faults.metering_time import MeteringTime
from tests.faults.operator import (
    BOUNDED,
    CLIENTS,
    CONTRACT,
    CONTRACTS,
    FIRST_QUOTA,
    PAYING,
    RATED,
    STEADY,
    TIGHT,
    TOKEN_BUYERS,
    Operator,
)
from tests.faults.tokens import CALLERS as TOKEN_CALLERS
from tests.faults.tokens import TokenCallers

REQUEST_TIMEOUT_SECONDS = 4.0
RETRIES = 4
RECENT_PLAYS = 300
USERS = ("ann", "ben", None)
EXPIRY_SECONDS = (8.0, 2 * 86_400.0)
"""How long credits last that are given for a time: some end while all goes on, the others when time is moved."""


class Workload:
    """Runs `workers` callers, a treasurer, an onlooker and metering's time until stopped."""

    def __init__(
        self, stack: FaultStack, history: History, rng: random.Random, time: MeteringTime, *, workers: int = 16
    ) -> None:
        self._stack = stack
        self._history = history
        self._rng = rng
        self._time = time
        self._workers = workers
        self._operations = itertools.count(1)
        self._plays: dict[str, deque[str]] = {client_id: deque(maxlen=RECENT_PLAYS) for client_id in CLIENTS}
        self._users: dict[str, str | None] = {}
        self._stopping = asyncio.Event()
        self._quota = dict.fromkeys(BOUNDED, FIRST_QUOTA)
        self._tokens: dict[str, str] = {}
        self.think_seconds = 0.03

    async def run(self, access: dict[str, str]) -> None:
        """Work until stop(); requests under way are waited for."""
        self._tokens = access
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as self._session,
            asyncio.TaskGroup() as group,
        ):
            for number in range(self._workers):
                group.create_task(self._call(random.Random(self._rng.random()), number))
            tokens = TokenCallers(self._stack, self._session, self._history, self._stopping)
            for _ in range(TOKEN_CALLERS):
                group.create_task(tokens.call(random.Random(self._rng.random())))
            group.create_task(self._be_treasurer(random.Random(self._rng.random())))
            group.create_task(self._look_on())
            group.create_task(self._time.keep_moving(random.Random(self._rng.random()), self._stopping))

    def stop(self) -> None:
        """Let everybody finish."""
        self._stopping.set()

    async def _call(self, rng: random.Random, number: int) -> None:
        # Most callers are many at one tight client, so that the last credits are fought over.
        clients = (*TIGHT, *TIGHT, *BOUNDED, *CONTRACT, *CONTRACT, *STEADY, *STEADY, *RATED)
        while not self._stopping.is_set():
            client_id = rng.choice(clients)
            work = rng.choices(
                (self._create, self._create_with_key, self._complete, self._reopen, self._list),
                weights=(30, 30, 25, 5, 2),
            )[0]
            await work(client_id, rng)
            await asyncio.sleep(rng.expovariate(1 / self.think_seconds) if self.think_seconds else 0)

    async def _create(self, client_id: str, rng: random.Random) -> None:
        operation = f"create-{next(self._operations)}"
        await self._send_create(rng, operation, client_id, None, operation)

    async def _create_with_key(self, client_id: str, rng: random.Random) -> None:
        """Create with a key: as a rule again until it is known, at times twice at once or later with another body."""
        operation = f"create-{next(self._operations)}"
        key = f"key-{operation}"
        if rng.random() < 0.15:
            twins = [self._send_create(rng, operation, client_id, key, operation) for _ in range(rng.randint(2, 4))]
            attempts = await asyncio.gather(*twins)
        else:
            attempts = [await self._send_create(rng, operation, client_id, key, operation)]
        for _ in range(RETRIES):
            if not all(attempt.is_unknown for attempt in attempts) or self._stopping.is_set():
                break
            await asyncio.sleep(rng.uniform(0.1, 1.0))
            attempts = [await self._send_create(rng, operation, client_id, key, operation)]
        if attempts[-1].status == 201:
            if rng.random() < 0.2:
                await self._send_create(rng, operation, client_id, key, operation)
            if rng.random() < 0.1:
                await self._send_create(rng, f"other-{operation}", client_id, key, f"other-{operation}")

    async def _send_create(
        self, rng: random.Random, operation: str, client_id: str, key: str | None, marker: str
    ) -> Attempt:
        user_id = random.Random(operation).choice(USERS)  # the same for every attempt at it
        body = {"planId": "plan", "displayName": marker, "plannedLessons": ["one", "two"], "userId": user_id}
        headers = {"Idempotency-Key": key} if key is not None else {}
        attempt = self._history.begin(operation, "create", client_id, key=key, user_id=user_id)
        await self._send(rng, attempt, "POST", "", body, headers)
        if attempt.status == 201:
            play = attempt.answer["data"]
            self._plays[client_id].append(play["id"])
            self._users[play["id"]] = play["userId"]
        return attempt

    async def _complete(self, client_id: str, rng: random.Random) -> None:
        """End a play, at times from several callers at once."""
        if not self._plays[client_id]:
            return
        play_id = rng.choice(self._plays[client_id])
        operation = f"complete-{next(self._operations)}"
        times = rng.randint(2, 4) if rng.random() < 0.2 else 1
        await asyncio.gather(*[self._change(rng, operation, client_id, play_id, "ended") for _ in range(times)])

    async def _reopen(self, client_id: str, rng: random.Random) -> None:
        if self._plays[client_id]:
            operation = f"reopen-{next(self._operations)}"
            await self._change(rng, operation, client_id, rng.choice(self._plays[client_id]), "active")

    async def _change(self, rng: random.Random, operation: str, client_id: str, play_id: str, status: str) -> None:
        kind = "complete" if status == "ended" else "reopen"
        attempt = self._history.begin(operation, kind, client_id, play_id=play_id, user_id=self._users[play_id])
        await self._send(rng, attempt, "PATCH", f"/{play_id}", {"status": status}, {})

    async def _list(self, client_id: str, rng: random.Random) -> None:
        """List the newest plays, and look whether one that was acknowledged before is there."""
        acknowledged = list(self._plays[client_id])[-5:]
        attempt = self._history.begin(f"list-{next(self._operations)}", "list", client_id)
        await self._send(rng, attempt, "GET", "?limit=1000", None, {})
        if attempt.status == 200:
            listed = {play["id"] for play in attempt.answer["data"]}
            missing = [play_id for play_id in acknowledged if play_id not in listed]
            if missing and len(listed) < 1000:
                self._history.torn_reads.append(f"{client_id}: list lacks acknowledged plays {missing}")
            attempt.answer = None

    async def _send(
        self, rng: random.Random, attempt: Attempt, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> None:
        url = f"{self._stack.url(rng.choice(ACTIVITIES))}/api/plan-plays{path}"
        headers = {**headers, "Authorization": f"Bearer {self._tokens[attempt.client_id]}"}
        try:
            async with self._session.request(method, url, json=body, headers=headers) as response:
                self._history.end(attempt, response.status, await response.json())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._history.end(attempt, None, fault=type(error).__name__)

    async def _be_treasurer(self, rng: random.Random) -> None:
        """Hand out credits, raise quotas, change a price: in small steps, again until each is known to be done.

        Credits for a time, voids and refunds come on top of what refusals are judged by: they can only help.
        """
        operator = Operator(self._stack, self._session, self._history, self._time)
        for number in itertools.count(1):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), rng.uniform(0.2, 0.8))
            if self._stopping.is_set():
                return
            client_id = rng.choice(PAYING)
            match rng.randrange(9):
                case 0 | 1 | 2 | 3:
                    client_id = rng.choice((*TIGHT, TOKEN_BUYERS[0]))
                    await operator.grant(client_id, f"grant-{number}", rng.randint(3, 10))
                case 4:
                    seconds = rng.uniform(1, rng.choice(EXPIRY_SECONDS))
                    await operator.grant_for_a_time(client_id, f"short-{number}", rng.randint(1, 9), seconds)
                case 5:
                    await operator.void_one_for_a_time(client_id)
                case 6 if self._plays[client_id]:
                    event_id = f"plan_play.created:{rng.choice(self._plays[client_id])}"
                    ids = [f"refund-{number}-{rng.randint(1, 2)}" for _ in range(rng.randint(1, 3))]
                    await operator.refund_at_once(client_id, ids, event_id)
                case 7:
                    client_id = rng.choice(BOUNDED)
                    self._quota[client_id] += rng.randint(10, 40)
                    await operator.put_policy(client_id, quota=self._quota[client_id])
                case _:
                    await operator.put_policy("tight-3", price=rng.randint(1, 2))

    async def _look_on(self) -> None:
        """Read balances all the time: each must add up in itself."""
        operator = Operator(self._stack, self._session, self._history, self._time)
        for client_id in itertools.cycle((*TIGHT, *CONTRACTS)):
            if self._stopping.is_set():
                return
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
                balance = await operator.call("GET", f"/internal/clients/{client_id}/balance")
                self._history.reads += 1
                whole = balance["spent"] + balance["held"] + balance["expired"] + balance["available"]
                if balance["granted"] + balance["adjusted"] != whole or balance["available"] < 0:
                    self._history.torn_reads.append(f"{client_id}: balance {balance}")
            await asyncio.sleep(0.1)
