"""How much is under way in a stack, and the wait until nothing is."""

import asyncio
import contextlib
import time
from dataclasses import dataclass

import aiohttp
import asyncpg

from prove.breakable_stack import BreakableStack

REST_LIMIT_SECONDS = 60.0
UNREACHABLE = (
    aiohttp.ClientError,
    OSError,
    TimeoutError,
    ValueError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What a call or a statement raises while the part that it needs is away. The last one: the server died between two
messages of a statement (asyncpg 0.32: "cannot switch to state 12; another operation (2) is in progress")."""


@dataclass(frozen=True, slots=True)
class Unrest:
    """What is not at rest: facts not settled, facts parked, holds not closed."""

    unsettled: int
    parked: int
    held: int

    @property
    def is_rest(self) -> bool:
        """Whether nothing is under way any more."""
        return self.unsettled == 0 and self.held == 0


async def fetch_unrest(stack: BreakableStack) -> Unrest:
    """Count what is under way. Raises OSError, TimeoutError or PostgresError while a server is away."""
    activity = await asyncpg.connect(stack.dsns["activity"], timeout=2)
    try:
        unsettled, parked = await activity.fetchrow(
            "SELECT count(*) FILTER (WHERE parked_at IS NULL), count(parked_at) FROM billable_event "
            "WHERE outcome = 'happened'",
            timeout=5,
        )
    finally:
        activity.terminate()
    metering = await asyncpg.connect(stack.dsns["metering"], timeout=2)
    try:
        held = await metering.fetchval("SELECT count(*) FROM hold WHERE released_at IS NULL", timeout=5)
    finally:
        metering.terminate()
    return Unrest(unsettled, parked, held)


async def await_rest(stack: BreakableStack) -> tuple[float, Unrest]:
    """Wait until nothing is under way; answer how long it took, and what is left if it took too long."""
    began = time.monotonic()
    unrest = Unrest(-1, -1, -1)
    while time.monotonic() - began < REST_LIMIT_SECONDS:
        with contextlib.suppress(*UNREACHABLE):
            unrest = await fetch_unrest(stack)
            if unrest.is_rest:
                break
        await asyncio.sleep(0.1)
    return time.monotonic() - began, unrest
