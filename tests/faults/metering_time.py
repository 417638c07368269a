"""Metering's time, moved forward while everything works and breaks: periods end, grants expire and come again.

Metering's alone. Its database says when a decision is made (`utc_now()`), and its process is told of the move, since
it does not decide far apart from its database. Everybody else's time, and the log's, goes on as it does.
"""

import asyncio
import contextlib
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import asyncpg

from prove.rest import UNREACHABLE
from tests.faults.fault_stack import FaultStack

REPLACE_UTC_NOW = """
    CREATE TABLE moved_time (seconds double precision NOT NULL);
    INSERT INTO moved_time VALUES (0);
    CREATE OR REPLACE FUNCTION utc_now() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT clock_timestamp() + seconds * interval ''1 s'' FROM moved_time';
"""
WAIT_SECONDS = (4.0, 10.0)
BEFORE_AN_END_SECONDS = (0.5, 3.0)
BEYOND_AN_END_HOURS = (0.0, 40.0)
RETRY_SECONDS = 0.2

Period = Literal["hour", "day", "month"]


def period_of(period: Period, moment: datetime) -> tuple[datetime, datetime]:
    """Return the start and the end of the period of the calendar that `moment` falls in, UTC."""
    start = moment.replace(minute=0, second=0, microsecond=0)
    if period == "hour":
        return start, start + timedelta(hours=1)
    start = start.replace(hour=0)
    if period == "day":
        return start, start + timedelta(days=1)
    start = start.replace(day=1)
    return start, (start + timedelta(days=32)).replace(day=1)


@dataclass(slots=True)
class Move:
    """Metering's time came to be `ahead` of the log's at some moment between two of the log's; None: not known."""

    begun_at: datetime
    ahead: timedelta
    done_at: datetime | None = None


@dataclass(slots=True)
class Timeline:
    """What metering's time was at a moment of the log. Moves go forward only."""

    moves: list[Move] = field(default_factory=list)

    @property
    def ahead(self) -> timedelta:
        """How far it is ahead of the log in the end."""
        return self.moves[-1].ahead if self.moves else timedelta()

    def earliest(self, at: datetime) -> datetime:
        """Return the least that it can have been then."""
        return at + max(
            (move.ahead for move in self.moves if move.done_at and move.done_at <= at), default=timedelta()
        )

    def latest(self, at: datetime) -> datetime:
        """Return the most that it can have been then."""
        return at + max((move.ahead for move in self.moves if move.begun_at <= at), default=timedelta())

    def real(self, moment: datetime) -> datetime:
        """Return when metering's time was `moment`, about; one that was passed over was when that happened."""
        ahead = timedelta()
        for move in self.moves:
            if moment < move.begun_at + move.ahead:
                return min(moment - ahead, move.begun_at)
            ahead = move.ahead
        return moment - ahead


class MeteringTime:
    """The clock of metering's database, and its process's, in a stack that runs."""

    def __init__(self, stack: FaultStack) -> None:
        self._stack = stack
        self._ahead = timedelta()
        self.timeline = Timeline()

    async def replace(self) -> None:
        """Put it in the place of the database's own clock."""
        connection = await asyncpg.connect(self._stack.dsns["metering"])
        try:
            await connection.execute(REPLACE_UTC_NOW)
        finally:
            await connection.close()

    def now(self) -> datetime:
        """Return metering's present moment."""
        return datetime.now(UTC) + self._ahead

    async def keep_moving(self, rng: random.Random, stopping: asyncio.Event) -> None:
        """Move on every few seconds until stopped: to shortly before a period's end, or beyond it."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), rng.uniform(*WAIT_SECONDS))
                return
            periods: tuple[Period, ...] = ("hour", "hour", "hour", "day", "day", "day", "day", "month")
            _, end = period_of(rng.choice(periods), self.now())
            if rng.random() < 0.6:
                await self.move_to(end - timedelta(seconds=rng.uniform(*BEFORE_AN_END_SECONDS)))
            else:
                await self.move_to(end + timedelta(hours=rng.uniform(*BEYOND_AN_END_HOURS)))

    async def move_to(self, moment: datetime) -> None:
        """Make it `moment`, unless it is later already; again until that is known to be done."""
        move = Move(begun_at := datetime.now(UTC), moment - begun_at)
        if move.ahead <= self._ahead:
            return
        self.timeline.moves.append(move)
        self._stack.metering_ahead.write_text(str(move.ahead.total_seconds()))
        while move.done_at is None:
            try:
                await self._set(move.ahead)
                move.done_at = datetime.now(UTC)
            except UNREACHABLE:
                await asyncio.sleep(RETRY_SECONDS)
        self._ahead = move.ahead

    async def _set(self, ahead: timedelta) -> None:
        connection = await asyncpg.connect(self._stack.dsns["metering"], timeout=2)
        try:
            await connection.execute(
                "UPDATE moved_time SET seconds = greatest(seconds, $1)", ahead.total_seconds(), timeout=2
            )
        finally:
            connection.terminate()
