"""What is done to a shop while it sells: a table of kills (SIGKILL) and freezes (SIGSTOP, later SIGCONT)."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

from local_stack.errors import StackError
from prove.breakable_stack import BreakableStack
from prove.callers import RETRY_SECONDS, Callers
from prove.rest import UNREACHABLE
from prove.shop import Shop

Note = Callable[[str], None]
"""Takes a line about what happens."""

DEAD_SECONDS = (0.2, 0.8)
"""How long something is dead before it is started again, as a supervisor does."""
SELLING_SECONDS = (0.3, 0.9)
"""How long it is left in peace once it sells again."""
RUSH_TIMEOUT_SECONDS = 1.0
SALE_TIMEOUT_SECONDS = 30.0
FREEZE_SECONDS = 2.0
"""Longer than run.VARIABLES lets a hold grow old: meanwhile the other seller gives up what a frozen one holds."""

POSTGRES, VALKEY = "postgres", "valkey"
NAMES = {POSTGRES: "PostgreSQL", VALKEY: "Valkey"}
"""Of servers; a service is called by its own."""


@dataclass(frozen=True, slots=True)
class Break:
    """One thing that is done to `parts`: killed, or frozen for FREEZE_SECONDS."""

    parts: tuple[str, ...]
    is_freeze: bool = False

    @property
    def words(self) -> str:
        """What is done, for people."""
        how = "freeze " if self.is_freeze else "kill -9"
        match self.parts:
            case (part,):
                return f"{how}  {NAMES.get(part, part)}"
            case (first, second):
                return f"{how}  {first} and {second}"
            case _:
                return f"{how}  everything at once"


def breaks_of(shop: Shop) -> list[Break]:
    """Return what is done to a shop, in its order; the same for each, as far as it has these processes."""
    first, second = shop.sellers
    return [
        Break((first,)),
        Break((POSTGRES,), is_freeze=True),
        *[Break((helper,)) for helper in shop.helpers],
        Break((POSTGRES,)),
        Break((second,), is_freeze=True),
        *[Break((helper,), is_freeze=True) for helper in shop.helpers if helper != VALKEY],
        Break((first, second)),
        Break((first, second, POSTGRES, *shop.helpers)),
    ]


class Killer:
    """Breaks one thing after another: the next when a play was sold since the last was mended."""

    def __init__(self, stack: BreakableStack, shop: Shop, callers: Callers, rng: random.Random, note: Note) -> None:
        self._stack = stack
        self._callers = callers
        self._rng = rng
        self._note = note
        self._breaks = breaks_of(shop)

    async def run(self, seconds: float, least_breaks: int) -> None:
        """Break one thing after another, and then from the first again, for so long and at least so many; mend all.

        Raises StackError when nothing is sold again.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        await self._await_sale()
        for done, what in enumerate(itertools.cycle(self._breaks)):
            await asyncio.sleep(self._rng.uniform(*SELLING_SECONDS))
            if loop.time() > end and done >= least_breaks:
                break
            await self._do(what)

    async def _do(self, what: Break) -> None:
        process_ids = await self._process_ids(what.parts[0]) if what.is_freeze else []
        await self._await_rush()
        began = asyncio.get_running_loop().time()
        if what.is_freeze:
            async with self._stack.frozen(process_ids):
                self._note(what.words)
                await asyncio.sleep(FREEZE_SECONDS)
        else:
            await asyncio.gather(*[self._kill(part) for part in what.parts])
            self._note(what.words)
            await asyncio.sleep(self._rng.uniform(*DEAD_SECONDS))
        await self._stack.revive()
        await self._await_sale()
        self._note(f"sells again after {asyncio.get_running_loop().time() - began:.1f} s")

    async def _kill(self, part: str) -> None:
        if part == POSTGRES:
            await self._stack.kill_server(self._stack.postgres)
        elif part == VALKEY:
            await self._stack.kill_server(self._stack.redis)
        else:
            await self._stack.kill_service(part)

    async def _process_ids(self, part: str) -> list[int]:
        if part != POSTGRES:
            return [self._stack.pid(part)]
        async with asyncio.timeout(SALE_TIMEOUT_SECONDS):
            while True:
                with contextlib.suppress(*UNREACHABLE):  # it may have too many connections just now
                    return await self._stack.postgres_process_ids()
                await asyncio.sleep(RETRY_SECONDS)

    async def _await_rush(self) -> None:
        """Return in the middle of a sale; or soon, where there is none."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._callers.rush.wait(), RUSH_TIMEOUT_SECONDS)

    async def _await_sale(self) -> None:
        try:
            async with asyncio.timeout(SALE_TIMEOUT_SECONDS), self._callers.acknowledged:
                await self._callers.acknowledged.wait()
        except TimeoutError:
            raise StackError(f"nothing was sold for {SALE_TIMEOUT_SECONDS:g} s") from None
