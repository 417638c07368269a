"""Billing for a service of one's own: what it is made of, opened once, and `authorize` for one fact at a time."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeVar

import aiohttp
import asyncpg

from metering_client.client import MeteringClient
from metering_client.errors import FactExists, HoldAbandoned, HoldReleased, HoldTaken, MeteringUnavailable
from metering_client.event import BillableEvent, Outcome, start_attempt
from metering_client.hold import FenceRefused, Hold
from metering_client.key_check import RECHECK_INTERVAL_SECONDS, MeteringCheck
from metering_client.metrics import BillingMetrics
from metering_client.outbox_store import OutboxStore
from metering_client.relay import GATHER_SECONDS, WATCH_INTERVAL_SECONDS, Relay
from metering_client.sweeper import Sweeper
from service_chassis.background import BackgroundTask, run_tasks

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingTimes:
    """How long things take, in seconds.

    `deadline`: a request waits so long for metering's decision, all tries together. `resolve_after`: a hold of that
    age counts as left behind; far above what a request may take between `authorize` and COMMIT. `retention`: a hold
    that was given up is remembered so long, and an attempt may stand still for half of it; not below ten times the
    longest request. `sweep` and `poll`: pauses between two searches for holds left behind, and two looks into the
    outbox.
    """

    deadline: float = 2.0
    resolve_after: int = 30
    retention: float = 86_400.0
    sweep: float = 5.0
    poll: float = 2.0


class Billing:
    """What bills: `metering` asks, `relay` has charged what happened, `sweeper` closes what was left behind.

    `authorize` is for one fact in one transaction. For many facts in one statement of one's own there are the parts:
    `metering.authorize`, `insert_fences`, `settle_soon`, `sweeper.give_up` (docs/meter-your-endpoint.md).
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        session: aiohttp.ClientSession,
        *,
        url: str,
        key: str,
        event_types: AbstractSet[str],
        times: BillingTimes,
        metrics: BillingMetrics,
    ) -> None:
        self._pool = pool
        self._event_types = event_types
        self.retention = timedelta(seconds=times.retention)
        self.metering = MeteringClient(
            session,
            url=url,
            key=key,
            deadline_seconds=times.deadline,
            resolve_within_seconds=times.resolve_after + math.ceil(times.sweep),
            metrics=metrics,
        )
        self.relay = Relay(pool, self.metering, metrics)
        self.sweeper = Sweeper(
            pool, self.metering, self.relay, metrics, event_types, times.resolve_after, self.retention
        )
        make_task = partial(BackgroundTask, rounds=metrics.background_rounds)
        self._settling = make_task(
            "relay",
            self.relay.settle_committed,
            interval_seconds=WATCH_INTERVAL_SECONDS,
            gather_seconds=GATHER_SECONDS,
        )
        check = MeteringCheck(session, url, key, metrics)
        self._tasks = [
            self._settling,
            make_task("outbox poll", self.relay.settle_due, interval_seconds=times.poll),
            make_task("sweeper", self.sweeper.run_once, interval_seconds=times.sweep),
            make_task("outbox watch", self.relay.watch_once, interval_seconds=WATCH_INTERVAL_SECONDS),
            make_task("metering check", check.run_once, interval_seconds=RECHECK_INTERVAL_SECONDS),
        ]

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Run the background work; at the end settle and release what the last requests left."""
        async with run_tasks(self._tasks, last_round=self._finish):
            yield

    async def _finish(self) -> None:
        await self.relay.settle_committed()
        await self.sweeper.finish()

    def settle_soon(self, event: BillableEvent) -> None:
        """Have an event charged that was committed with its fact; `happened_at` must be set."""
        self.relay.remember(event)
        self._settling.kick()

    @asynccontextmanager
    async def authorize(
        self,
        event_type: str,
        fact_id: object,
        *,
        client_id: str,
        user_id: str | None = None,
        units: int = 1,
    ) -> AsyncIterator[Hold]:
        """Ask whether a fact may happen and hold what it costs; in the block do the work, then `hold.charge` it.

        `fact_id` names the fact for ever: the same one is charged once. `units` is the most that it may be, 1 to a
        million. A block that ends without `charge`, or in which it raises, gives the hold back; after COMMIT was sent
        nobody does. The block may not take longer than `BillingTimes.resolve_after`.

        Raises EventRefused (429) when it may not happen, and MeteringSlow or MeteringUnavailable when nobody can say;
        from the end of `charge`: FactExists where another request for the same fact was first, HoldAbandoned where
        this one was taken for dead, and was stored by nobody. Raises EventInvalid (400), and has asked nobody,
        for units that are no such integer, and ids that are empty, longer than 255 characters, or hold NUL characters
        or lone surrogates; ValueError for a type that is none of `event_types`.
        """
        if event_type not in self._event_types:
            raise ValueError(f"{event_type} is none of the event_types here: nobody would look after its holds")
        event = start_attempt(event_type, fact_id, client_id, user_id, units)
        try:
            grant = await self.metering.authorize(event)
        except (MeteringUnavailable, asyncio.CancelledError) as error:
            if getattr(error, "may_be_held", True):
                await self.sweeper.give_up(event)
            raise
        event.hold_id = grant.hold_id
        hold = Hold(event, grant, self.retention, self.settle_soon)
        try:
            yield hold
        except BaseException as error:
            if hold.is_commit_sent:
                raise
            outcome = None if hold.is_charged else await self.sweeper.give_up(event)
            if isinstance(error, FenceRefused | asyncpg.IntegrityConstraintViolationError):
                await self._explain(event, outcome, error)
            raise
        if not hold.is_commit_sent and not hold.is_charged:
            await self.sweeper.give_up(event)

    async def _explain(self, event: BillableEvent, outcome: Outcome | None, error: BaseException) -> None:
        """Raise what kept a fact from being stored: it is there, or its hold is over and released, or neither."""
        if outcome is Outcome.ABANDONED and isinstance(error, FenceRefused):
            if await self.sweeper.await_release(event):
                raise HoldAbandoned from error
            raise HoldTaken from error
        if outcome is not Outcome.ABANDONED and await OutboxStore(self._pool).list_happened([event]):
            raise FactExists from error
        if isinstance(error, FenceRefused):
            raise HoldTaken from error


@asynccontextmanager
async def open_billing(
    pool: asyncpg.Pool,
    *,
    url: str,
    key: str,
    event_types: AbstractSet[str],
    times: BillingTimes | None = None,
    metrics: BillingMetrics | None = None,
) -> AsyncIterator[Billing]:
    """Lend billing for the facts of a database, with its background work running; it is finished at the end.

    `pool` sees the tables of `create_tables`, and the rows of all clients. `url` is metering's root, and `key` a
    service key of scope `events` there: a key's name is whose holds they are, so each service has its own, shared by
    all its processes. `event_types` are all that this service sells: holds of others are left alone.
    """
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        billing = Billing(
            pool,
            session,
            url=url,
            key=key,
            event_types=event_types,
            times=times or BillingTimes(),
            metrics=metrics or BillingMetrics(),
        )
        async with billing.run():
            yield billing


async def attempt_twice(attempt: Callable[[], Awaitable[Result]], first_seconds: float) -> Result:
    """Return what `attempt` returns, or a second one where somebody took the first for dead and gave its hold back.

    The second has a hold of its own. None is made after `first_seconds`: its caller has waited long enough.
    """
    until = asyncio.get_running_loop().time() + first_seconds
    try:
        return await attempt()
    except (HoldAbandoned, HoldReleased):
        if asyncio.get_running_loop().time() > until:
            raise
        return await attempt()
