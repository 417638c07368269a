"""`python -m tests.faults.overload`: ten times the load that can be served, for a minute, and what is left after it.

First finds what the stack serves with few callers, then sends twice as many requests a second as that, whether or not
answers come (an open loop: callers do not slow down because the service does), and beside them a crowd that asks
again as soon as it is answered: wrk with 1,000 connections, of a client without credits, so that nothing must come of
it. All the while `/livez` is asked and memory is read. Then it measures how soon the stack serves as fast as before,
and checks every invariant. Without wrk all the load is the open loop's, as much as this process can carry.
"""

import asyncio
import contextlib
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Annotated

import aiohttp
import typer

from bench.wrk import run_wrk
from prove.breakable_stack import ACTIVITIES
from prove.history import History
from prove.registration import register_clients
from prove.rest import await_rest
from service_chassis.cli.audit_report import Finding
from service_chassis.clock import system_clock
from tests.faults.campaign import remove
from tests.faults.checker import check_history
from tests.faults.fault_stack import FaultStack
from tests.faults.metering_time import MeteringTime
from tests.faults.observation import fetch_rows, run_audits
from tests.faults.operator import CLIENTS, TIGHT, Operator

CLIENT_ID = "steady-1"
WARM_UP_SECONDS = 8.0
CALLERS = 16
BACK_SECONDS = 5.0
WATCHED_AFTER_SECONDS = 20.0
ANSWER_LIMIT_SECONDS = 10.0
OPEN_AT_MOST = 4000
"""Requests in flight that this machine's own client can carry; beyond it a request is counted as not sent."""
OWN_SHARE = 2.0
"""How many times what can be served the open loop asks for when there is a crowd for the rest."""
CROWD = "penniless"
CROWD_CONNECTIONS = 500
"""To each activity process."""
FULL_SPEED = 0.8
"""Back at full speed: at least this share of the rate before. Less would be noise of a shared machine."""


@dataclass
class Seen:
    """What an overload run saw."""

    before_per_second: float = 0.0
    asked_per_second: float = 0.0
    crowd_per_second: float = 0.0
    crowd_broken: int = 0
    served_during_per_second: float = 0.0
    """Of the open loop's: created, or refused by its client's policy."""
    answers: Counter[str] = field(default_factory=Counter)
    p99_seconds: float = 0.0
    livez_failures: int = 0
    livez_longest_seconds: float = 0.0
    memory_mb: dict[str, tuple[float, float]] = field(default_factory=dict)
    after_per_second: list[int] = field(default_factory=list)
    back_after_seconds: float | None = None
    rest_seconds: float = 0.0
    violations: list[Finding] = field(default_factory=list)


def main(
    seconds: Annotated[float, typer.Option(min=1, help="How long the overload lasts.")] = 60.0,
    times: Annotated[float, typer.Option(min=1, help="How many times what can be served.")] = 10.0,
) -> None:
    """Overload a stack of its own, and see that it stays correct, bounded, alive, and comes back."""
    seen = asyncio.run(_run(seconds, times))
    for name, value in vars(seen).items():
        print(f"{name}: {dict(value) if isinstance(value, Counter) else value}")
    is_back = seen.back_after_seconds is not None and seen.back_after_seconds <= BACK_SECONDS
    sys.exit(0 if is_back and not seen.violations and not seen.livez_failures else 1)


async def _run(seconds: float, times: float) -> Seen:
    seen = Seen()
    directory = Path(tempfile.mkdtemp(prefix="overload-"))
    stack = FaultStack(directory, goes_through_links=False)
    history = History(directory / "history.jsonl")
    try:
        await stack.start()
        tokens = await register_clients(stack, (*CLIENTS, CROWD))
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            operator = Operator(stack, session, history, MeteringTime(stack))
            await operator.set_up()
            # Prepaid, and never granted anything.
            await operator.call(
                "PUT", f"/internal/clients/{CROWD}/policy", {"policyId": f"of-{TIGHT[0]}", "create": True}
            )
            load = _Load(stack, history, session, tokens)
            seen.before_per_second = await load.measure(WARM_UP_SECONDS)
            watching = asyncio.create_task(_watch(stack, session, seen))
            if shutil.which("wrk"):
                await asyncio.gather(
                    load.flood(seen, seconds, min(OWN_SHARE, times)),
                    *[_crowd(stack, name, tokens[CROWD], seconds, seen) for name in ACTIVITIES],
                )
            else:
                await load.flood(seen, seconds, times)
            watching.cancel()
            seen.answers, seen.p99_seconds = load.answers.copy(), load.p99()
            seen.served_during_per_second = (seen.answers["201"] + seen.answers["429"]) / seconds
            await _await_full_speed(load, seen)
        seen.rest_seconds, unrest = await await_rest(stack)
        if not unrest.is_rest:
            seen.violations.append(Finding("6-no-rest", "the stack", str(unrest)))
        plays, holds, _ = await fetch_rows(stack, history.attempts)
        seen.violations += await run_audits(stack, system_clock())
        seen.violations += check_history(history, plays, holds)
    finally:
        history.close()
        await stack.stop()
        remove(directory)
    return seen


class _Load:
    """Creates by an unlimited client, and by tight ones whose last credits are fought over."""

    def __init__(
        self, stack: FaultStack, history: History, session: aiohttp.ClientSession, tokens: dict[str, str]
    ) -> None:
        self._stack = stack
        self._history = history
        self._session = session
        self._tokens = tokens
        self._number = 0
        self._rng = random.Random(1)
        self.answers: Counter[str] = Counter()
        self._times: list[float] = []

    async def measure(self, seconds: float) -> float:
        """Return how many requests a second a few callers get answered, each sending when it has its answer."""
        end = time.monotonic() + seconds
        done = 0

        async def call() -> None:
            nonlocal done
            while time.monotonic() < end:
                status = await self._create()
                done += status in (201, 429)

        await asyncio.gather(*[call() for _ in range(CALLERS)])
        return done / seconds

    async def flood(self, seen: Seen, seconds: float, times: float) -> None:
        """Send at a fixed rate, whatever comes back."""
        self.answers.clear()
        self._times.clear()
        rate = seen.before_per_second * times
        began = time.monotonic()
        sent = skipped = 0
        under_way: set[asyncio.Task[int | None]] = set()
        while (passed := time.monotonic() - began) < seconds:
            while sent + skipped < passed * rate:
                if len(under_way) >= OPEN_AT_MOST:
                    skipped += 1
                    continue
                task = asyncio.create_task(self._create())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                sent += 1
            await asyncio.sleep(0.005)
        seen.asked_per_second = (sent + skipped) / seconds
        self.answers["not sent, the client had 4,000 open"] = skipped
        await asyncio.gather(*under_way)

    def p99(self) -> float:
        """Return the 99th percentile of the time to an answer."""
        return quantiles(self._times, n=100)[98] if len(self._times) > 1 else 0.0

    async def _create(self) -> int | None:
        self._number += 1
        client_id = CLIENT_ID if self._number % 4 else self._rng.choice(TIGHT)
        attempt = self._history.begin(f"create-{self._number}", "create", client_id)
        url = f"{self._stack.url(ACTIVITIES[self._number % 2], is_direct=True)}/api/plan-plays"
        headers = {"Authorization": f"Bearer {self._tokens[client_id]}"}
        body = {"planId": "plan", "displayName": attempt.operation}
        timeout = aiohttp.ClientTimeout(total=ANSWER_LIMIT_SECONDS)
        began = time.monotonic()
        try:
            async with self._session.post(url, json=body, headers=headers, timeout=timeout) as response:
                self._history.end(attempt, response.status, await response.json())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._history.end(attempt, None, fault=type(error).__name__)
        self._times.append(time.monotonic() - began)
        self.answers[str(attempt.status or attempt.fault)] += 1
        return attempt.status


async def _crowd(stack: FaultStack, name: str, token: str, seconds: float, seen: Seen) -> None:
    tokens = stack.directory / "crowd.token"
    tokens.write_text(token + "\n")
    load = await asyncio.to_thread(
        run_wrk,
        stack.url(name, is_direct=True),
        "create",
        seconds=round(seconds),
        connections=CROWD_CONNECTIONS,
        parameters={"tokens": tokens, "seed": 1 + ACTIVITIES.index(name)},
    )
    seen.crowd_per_second += load.rate
    seen.crowd_broken += load.broken
    if load.refused != load.requests:
        seen.violations.append(Finding("1-nobody-asked", CROWD, "was given what it has no credits for"))


async def _watch(stack: FaultStack, session: aiohttp.ClientSession, seen: Seen) -> None:
    """Ask `/livez` and read the memory of every service, ten times a second."""
    names = ("metering", *ACTIVITIES)
    first = {name: _resident_mb(stack.pid(name)) for name in names}
    most = dict(first)
    while True:
        for name in names:
            began = time.monotonic()
            answered = False
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                timeout = aiohttp.ClientTimeout(total=5)
                async with session.get(f"{stack.operations_url(name)}/livez", timeout=timeout) as response:
                    answered = response.status == 200
            seen.livez_failures += not answered
            seen.livez_longest_seconds = max(seen.livez_longest_seconds, time.monotonic() - began)
            most[name] = max(most[name], _resident_mb(stack.pid(name)))
            seen.memory_mb[name] = (first[name], most[name])
        await asyncio.sleep(0.1)


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * 4096 / 1e6, 1)


async def _await_full_speed(load: _Load, seen: Seen) -> None:
    """Note the rate of each second after the flood, until it is what it had been."""
    began = time.monotonic()
    while seen.back_after_seconds is None and time.monotonic() - began < WATCHED_AFTER_SECONDS:
        rate = await load.measure(1.0)
        seen.after_per_second.append(round(rate))
        if rate >= FULL_SPEED * seen.before_per_second:
            seen.back_after_seconds = round(time.monotonic() - began, 1)


if __name__ == "__main__":
    typer.run(main)
