"""One run: start a stack, work, break, heal, rest, check."""

import asyncio
import contextlib
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp

from prove.breakable_stack import ACTIVITIES
from prove.history import History
from prove.registration import register_clients
from prove.rest import REST_LIMIT_SECONDS, UNREACHABLE, await_rest
from service_chassis.cli.audit_report import Finding
from tests.faults.checker import Conditions, check_history
from tests.faults.fault_kinds import CLOCK_SHIFT_SECONDS, FAULTS
from tests.faults.fault_stack import FaultStack
from tests.faults.metering_time import MeteringTime
from tests.faults.observation import fetch_books, fetch_rows, run_audits
from tests.faults.operator import CLIENTS, PROBE, Operator
from tests.faults.reckoning import check_books
from tests.faults.rows import HoldRow, PlayRow
from tests.faults.smallest_history import describe, find_smallest_history
from tests.faults.tokens import check_tokens
from tests.faults.workload import REQUEST_TIMEOUT_SECONDS, Workload

RECOVERY_LIMIT_SECONDS = 30.0
QUIET_SECONDS = 0.5
TWO_AT_ONCE = 0.25
"""The share of rounds in which two things break at the same time."""

VARIABLES = {"METERING_HOLD_RETENTION_SECONDS": str(366 * 86_400)}
"""A released hold is remembered for far longer than a request may take, also by a clock that moves on by months."""

Report = Callable[[str], None]


@dataclass
class Outcome:
    """What a run saw."""

    seed: int
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    recovery_seconds: dict[str, list[float]] = field(default_factory=dict)
    attempts: int = 0
    unknown: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    plays: int = 0
    answers: int = 0
    charges: int = 0
    abandoned: int = 0
    replayed: int = 0
    restarts: int = 0
    reads: int = 0
    rest_seconds: float = 0.0
    longest_hold_seconds: float = 0.0
    moves: int = 0
    days: float = 0.0
    refunds: int = 0
    recurrences: int = 0
    violations: list[Finding] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)

    @property
    def is_void(self) -> bool:
        """Whether no fault bit: nobody was left in doubt, and no sweeper had anything to mend."""
        return self.unknown == 0 and self.abandoned == 0

    def as_document(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            **vars(self),
            "violations": [f"{each.rule} {each.subject}: {each.detail}" for each in self.violations],
        }


class Campaign:
    """Runs one seed for `seconds` of faults. `kinds` limits them; `bug` seeds one into the product."""

    def __init__(
        self,
        seed: int,
        seconds: float,
        *,
        report: Report,
        bug: str = "",
        kinds: Sequence[str] = (),
        workers: int = 16,
    ) -> None:
        self._rng = random.Random(seed)
        self._seconds = seconds
        self._report = report
        self._bug = bug
        self._kinds = list(kinds or FAULTS)
        self._workers = workers
        self._deck: list[str] = []
        self.outcome = Outcome(seed)

    async def run(self) -> Outcome:
        """Run it. Raises StackError when the stack does not even start."""
        directory = Path(tempfile.mkdtemp(prefix="faults-"))
        stack = FaultStack(directory, bug=self._bug, variables=VARIABLES, sells_tokens=True)
        history = History(directory / "history.jsonl")
        began = time.monotonic()
        try:
            await stack.start()
            metering_time = MeteringTime(stack)
            await metering_time.replace()
            tokens = await register_clients(stack, CLIENTS)
            await self._work(stack, history, tokens, metering_time)
            await self._check(stack, history, metering_time)
        finally:
            self.outcome.seconds = time.monotonic() - began
            history.close()
            await stack.stop()
        if self.outcome.violations:
            self.outcome.evidence.append(f"everything is kept in {directory}")
        else:
            await asyncio.to_thread(remove, directory)
        return self.outcome

    async def _work(
        self, stack: FaultStack, history: History, tokens: dict[str, str], metering_time: MeteringTime
    ) -> None:
        async with aiohttp.ClientSession() as session:
            await Operator(stack, session, history, metering_time).set_up()
            workload = Workload(stack, history, self._rng, metering_time, workers=self._workers)
            working = asyncio.create_task(workload.run(tokens))
            try:
                await self._break_things(stack, history, session, tokens[PROBE])
            finally:
                await stack.revive()
                workload.stop()
                await working

    async def _break_things(
        self, stack: FaultStack, history: History, session: aiohttp.ClientSession, token: str
    ) -> None:
        end = time.monotonic() + self._seconds
        await asyncio.sleep(1.0)
        while time.monotonic() < end:
            names = [self._draw() for _ in range(2 if self._rng.random() < TWO_AT_ONCE else 1)]
            left = max(0.0, end - time.monotonic())
            self._report(
                f"seed {self.outcome.seed}: {left:4.0f} s left, {len(history.attempts):,} requests, "
                f"{sum(self.outcome.faults.values())} faults, now {' and '.join(names)}"
            )
            came_about = await asyncio.gather(*[self._inject(name, stack) for name in names])
            healed_at = time.monotonic()
            await stack.revive()
            seconds = await self._await_recovery(stack, session, token, healed_at)
            for name, bit in zip(names, came_about, strict=True):
                (self.outcome.faults if bit else self.outcome.missed)[name] += 1
                if bit:
                    self.outcome.recovery_seconds.setdefault(name, []).append(seconds)
            await asyncio.sleep(self._rng.uniform(0, QUIET_SECONDS))

    def _draw(self) -> str:
        """Take the next fault from a shuffled deck: every kind comes before any comes twice."""
        if not self._deck:
            self._deck = self._rng.sample(self._kinds, len(self._kinds))
        return self._deck.pop()

    async def _inject(self, name: str, stack: FaultStack) -> bool:
        try:
            return await FAULTS[name](stack, random.Random(self._rng.random()))
        except (*UNREACHABLE, ProcessLookupError):
            return False  # the other fault of this round was there first

    async def _await_recovery(
        self, stack: FaultStack, session: aiohttp.ClientSession, token: str, began: float
    ) -> float:
        """Return the seconds from `began` until both activity processes created a play again, restarts included."""
        headers = {"Authorization": f"Bearer {token}"}
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS)
        for name in ACTIVITIES:
            while True:
                with contextlib.suppress(*UNREACHABLE):
                    url = f"{stack.url(name, is_direct=True)}/api/plan-plays"
                    body = {"planId": "probe", "displayName": "probe"}
                    async with session.post(url, json=body, headers=headers, timeout=timeout) as response:
                        if response.status == 201:
                            break
                if time.monotonic() - began > RECOVERY_LIMIT_SECONDS:
                    self.outcome.violations.append(
                        Finding("recovery", name, f"no play could be created for {RECOVERY_LIMIT_SECONDS:g} s")
                    )
                    return time.monotonic() - began
                await stack.restart_ended()
                await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def _check(self, stack: FaultStack, history: History, metering_time: MeteringTime) -> None:
        outcome, timeline = self.outcome, metering_time.timeline
        outcome.rest_seconds, unrest = await await_rest(stack)
        if not unrest.is_rest or unrest.parked:
            outcome.violations.append(Finding("6-no-rest", "the stack", f"after {REST_LIMIT_SECONDS:g} s: {unrest}"))
        plays, holds, outcome.abandoned = await fetch_rows(stack, history.attempts)
        books = await fetch_books(stack, holds)
        outcome.violations += await run_audits(stack, books.now)
        tokens = await check_tokens(stack, history.attempts, books.now)
        outcome.violations += tokens.findings
        outcome.answers = tokens.answers
        outcome.abandoned += tokens.abandoned
        asked = [play for play in plays if play.client_id != PROBE]
        skew = CLOCK_SHIFT_SECONDS if any("clock" in name for name in outcome.faults) else 0.0
        conditions = Conditions(books.grants, timeline, skew)
        outcome.violations += [*check_history(history, asked, holds, conditions), *check_books(history, books)]
        outcome.attempts, outcome.plays = len(history.attempts), len(plays)
        outcome.unknown = sum(attempt.is_unknown for attempt in history.attempts)
        outcome.refused = Counter(attempt.code for attempt in history.attempts if attempt.code is not None)
        outcome.charges = sum(hold.state == "settled" for hold in holds)
        outcome.replayed, outcome.restarts, outcome.reads = stack.tape.replayed, stack.restarts, history.reads
        outcome.moves, outcome.days = len(timeline.moves), timeline.ahead / timedelta(days=1)
        outcome.refunds = sum(grant.kind == "refund" for grant in books.grants)
        outcome.recurrences = sum(grant.recurring_id is not None for grant in books.grants)
        real = timeline.real
        lives = [real(hold.closed_at) - real(hold.held_at) for hold in holds if hold.closed_at and hold.held_at]
        outcome.longest_hold_seconds = max((life.total_seconds() for life in lives), default=0.0)
        self._show(history, asked, holds, conditions)

    def _show(
        self, history: History, plays: Sequence[PlayRow], holds: Sequence[HoldRow], conditions: Conditions
    ) -> None:
        """Add to the outcome what shows its first violations."""
        outcome = self.outcome
        markers = {play.play_id: play.marker for play in plays}
        for finding in outcome.violations[:3]:
            smallest = find_smallest_history(finding, history, plays, holds, conditions)
            outcome.evidence.append(f"{finding.rule}, {finding.subject}, is shown by")
            if smallest:
                outcome.evidence += describe(smallest)
            else:  # what the books show, which stand in the databases: what the callers did about it
                name = finding.subject.rpartition(":")[2]
                outcome.evidence += list(history.related({finding.subject, name, markers.get(name)}))[:20]


def remove(directory: Path) -> None:
    """Remove a run's directory."""
    shutil.rmtree(directory, ignore_errors=True)
