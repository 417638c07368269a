"""One run: start a stack, sell and kill, count, and do the same to the usual ways."""

import asyncio
import contextlib
import random
import shutil
import tempfile
import textwrap
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp

from local_stack.errors import StackError
from local_stack.state_directory import forget_data, lock_state_directory
from prove.breakable_stack import BreakableStack
from prove.callers import CALLERS_PER_CLIENT, CLIENTS, IN_PLENTY, LAST_CREDITS, PLENTY, Callers
from prove.counting import Count, acknowledged_operations, count_sales
from prove.display import Display
from prove.ending import fetch_refusal, run_audits
from prove.history import Attempt, History
from prove.kills import FREEZE_SECONDS, Killer
from prove.product import QUOTA_CLIENTS, MeteredPlans
from prove.rest import UNREACHABLE
from prove.shop import Shop
from prove.usual_shop import UsualShop

DIRECTORY_PREFIX = "metered-plans-prove-"
COUNT_SECONDS = 0.5
"""How often the databases are read while selling goes on."""


class MakeStack(Protocol):
    """Makes a stack in an empty directory, as BreakableStack does."""

    def __call__(self, directory: Path, *, inherited_descriptors: Sequence[int]) -> BreakableStack:
        """Return the stack, not started."""


USUAL = (
    ("check, then track", "check_then_track"),
    ("debit, then retry", "debit_then_retry"),
)

INTRODUCTION = (
    "What is sold: plays of plans. Each play that is created is charged one credit of its client.",
    f"Who buys: {len(CLIENTS)} clients with {CALLERS_PER_CLIENT} callers each. A client gets {LAST_CREDITS} credits "
    f"at a time, and all its callers want a play at once. ({len(IN_PLENTY)} of the clients get {PLENTY}, and "
    f"{len(QUOTA_CLIENTS)} have a quota instead, which is raised by {LAST_CREDITS}.) A caller that gets no answer "
    "asks again, with its Idempotency-Key.",
    "What happens meanwhile: processes and databases are killed (kill -9: they end in the middle of whatever they "
    f"do, and are started again), or frozen for {FREEZE_SECONDS:g} s (SIGSTOP: they stand still, and then go on as "
    "if nothing had been).",
    "What is counted: oversold, plays beyond what their client had; charged twice, charges of a play that was "
    "charged before; lost, plays that were acknowledged and are not there, and at rest plays without a charge and "
    "charges without a play.",
)
PARTS = (
    "Starting PostgreSQL (all the data), Valkey (request rates), and the services: catalog (tokens), metering "
    "(grants and charges), activity twice (sells)."
)
READ_ON = (
    "Read on: docs/billing.md, how a charge happens exactly once; docs/reliability.md, what was done to prove it; "
    "prove/, this program; make faults, faults of 86 kinds; make run, to try it yourself."
)
WIDTH = 98

VARIABLES = {
    "ACTIVITY_RESOLVE_AFTER_SECONDS": "1",
    "ACTIVITY_SWEEP_INTERVAL_SECONDS": "0.2",
    "ACTIVITY_RELAY_POLL_SECONDS": "0.2",
}
"""Of the stack: holds of the dead are given back soon, so that there is something to sell again."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long a shop is sold from under fire: so many seconds, and until so many things were done to it."""

    seconds: float
    least_breaks: int


PRODUCT, USUAL_WAY = Effort(30.0, 9), Effort(9.0, 4)
QUICK_PRODUCT, QUICK_USUAL_WAY = Effort(4.0, 3), Effort(0.0, 1)


class Proof:
    """Runs it all."""

    def __init__(self, make_stack: MakeStack, display: Display, *, is_quick: bool) -> None:
        self._make_stack = make_stack
        self._display = display
        self._product_effort = QUICK_PRODUCT if is_quick else PRODUCT
        self._usual_effort = QUICK_USUAL_WAY if is_quick else USUAL_WAY

    async def run(self) -> bool:
        """Run, and return whether the product is sound. Raises StackError when it cannot be told.

        By the time it returns or raises, cancelled too, every process has ended; the directory stays if it is
        evidence.
        """
        forget_leftovers()
        directory = Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX))
        is_sound = True
        try:
            with lock_state_directory(directory) as state:
                stack = self._make_stack(directory, inherited_descriptors=[state.children_lock])
                try:
                    is_sound = await self._prove(stack)
                finally:
                    self._display.close()
                    await stack.stop()
        finally:
            if is_sound:
                await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        if not is_sound:
            (directory / "lock").unlink()  # no leftover for the next run to remove
            self._display.say(f"Databases, logs and the callers' log are kept in {directory}")
        return is_sound

    async def _prove(self, stack: BreakableStack) -> bool:
        say = self._display.say
        for paragraph in INTRODUCTION:
            say(textwrap.fill(paragraph, WIDTH))
        say(f"\n{textwrap.fill(PARTS, WIDTH)}\n")
        await stack.start()
        counts: dict[str, Count] = {}
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            product = MeteredPlans(stack, session)
            counts[product.name], attempts = await self._sell(stack, product, session, self._product_effort)
            audits = await run_audits(stack)
            refusal = await fetch_refusal(product, attempts)
            say("\nThe same callers and kills, on the same PostgreSQL, on how most people write it:\n")
            for name, module in USUAL:
                usual = UsualShop(stack, name, module)
                counts[name], _ = await self._sell(stack, usual, session, self._usual_effort)
        if refusal is not None:
            say(f"\nA refusal of {refusal.client_id}, as its caller was answered, and its receipt, from metering:")
            say(refusal.render())
        say("\nWhat the product's own audits say of its databases:")
        for audit in audits:
            say(f"  $ {audit.command}\n  {audit.output}")
        say()
        for name, count in counts.items():
            say(f"{name:<18} {count.verdict}")
        is_sound = counts[product.name].is_sound and all(audit.is_sound for audit in audits)
        say(f"\n{'Sound' if is_sound else 'NOT SOUND'}.\n{textwrap.fill(READ_ON, WIDTH)}")
        return is_sound

    async def _sell(
        self, stack: BreakableStack, shop: Shop, session: aiohttp.ClientSession, effort: Effort
    ) -> tuple[Count, Sequence[Attempt]]:
        """Let a shop sell while it is broken; return what was counted at rest, and the callers' log."""
        await shop.open(CLIENTS)
        with contextlib.closing(History(stack.directory / f"{shop.name.replace(' ', '-')}.jsonl")) as history:
            rng = random.Random()
            callers = Callers(shop, session, history, rng)
            killer = Killer(stack, shop, callers, rng, self._display.note)
            self._display.begin(shop.name)
            try:
                async with self._counting(shop, history, callers), asyncio.TaskGroup() as group:
                    group.create_task(callers.run())
                    await killer.run(effort.seconds, effort.least_breaks)
                    callers.stop()
            except ExceptionGroup as errors:
                raise _first(errors) from None
            await shop.come_to_rest()
            acknowledged = acknowledged_operations(history.attempts)
            sales = await shop.fetch_sales()
            count = count_sales(history.attempts, acknowledged, sales, callers.given, is_final=True)
            self._display.end(count)
            return count, history.attempts

    @contextlib.asynccontextmanager
    async def _counting(self, shop: Shop, history: History, callers: Callers) -> AsyncIterator[None]:
        """Count and show all the while."""

        async def count_on() -> None:
            while True:
                with contextlib.suppress(*UNREACHABLE):  # the database is down: the figures of before stay
                    acknowledged = acknowledged_operations(history.attempts)
                    sales = await shop.fetch_sales()
                    self._display.show(
                        count_sales(history.attempts, acknowledged, sales, callers.given, is_final=False)
                    )
                await asyncio.sleep(COUNT_SECONDS)

        counting = asyncio.create_task(count_on())
        try:
            yield
        finally:
            counting.cancel()
            await asyncio.wait([counting])


def _first(error: Exception) -> Exception:
    """Return the first error of a group, of groups."""
    return _first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


def forget_leftovers() -> None:
    """Remove the directories of runs that were killed, once their processes have ended."""
    for directory in Path(tempfile.gettempdir()).glob(f"{DIRECTORY_PREFIX}*"):
        if (directory / "lock").exists():
            with contextlib.suppress(StackError, OSError):  # it is a run that goes on, or somebody else's
                forget_data(directory)
