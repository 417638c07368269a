"""The sweeper (reconciliation): decides what becomes of holds whose request is not known to have ended.

The fence (commit record) knows: what happened is settled (captured), what was given up is released (voided).
"""

import asyncio
from collections.abc import Coroutine, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

import asyncpg
import structlog

from metering_client.client import MeteringClient
from metering_client.errors import MalformedResponse
from metering_client.event import BillableEvent, Outcome
from metering_client.metrics import BillingMetrics
from metering_client.outbox_store import OutboxStore
from metering_client.relay import MAX_STATE_CHARACTERS, NOT_NOW, Relay, call_by_halves
from service_chassis.batching import Batcher
from service_chassis.operations.logging import log_fault

Result = TypeVar("Result")

GIVE_UP_TIMEOUT_SECONDS = 2.0
"""A request that gives up waits for its row in the fence, and an error it has already: what takes longer is left to
the next search."""
MAX_GIVING_BACK = 1000
"""Releases on their way beside the requests that sent them. What is beyond is the next search's."""
EXPIRED_HOLDS_A_ROUND = 5000

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Sweeper:
    """Closes holds at metering by what stands in the fence. Any number may run at once.

    Whoever comes second gives way: a request that commits first keeps its hold, and one that comes after us
    finds it abandoned. A crash between abandoning and releasing is mended by the next round. Only holds of
    `own_event_types` are touched: of others the fence says nothing. What was given up is remembered for `retention`.
    """

    pool: asyncpg.Pool
    metering: MeteringClient
    relay: Relay
    metrics: BillingMetrics
    own_event_types: AbstractSet[str]
    older_than_seconds: int
    retention: timedelta
    _releases: Batcher[BillableEvent, str] = field(init=False)
    _under_way: set[asyncio.Task[Any]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._releases = Batcher(self._release, in_flight=2)

    async def run_once(self) -> None:
        """Resolve every old hold of ours, page after page, past those that fail.

        Others' are counted and left alone.
        """
        cursor: str | None = None
        found = 0
        failure: Exception | None = None
        while True:
            page = await self.metering.list_held(self.older_than_seconds, cursor)
            own = [event for event in page.events if event.event_type in self.own_event_types]
            self.metrics.holds_resolved.labels("not ours").inc(len(page.events) - len(own))
            found += len(own)
            self.metrics.holds_left_behind.set(found)
            try:
                await self._resolve(own)
            except Exception as error:  # one page's trouble must not keep the others' holds
                failure = error
            if page.next_cursor is None:
                break
            if page.next_cursor == cursor:
                raise MalformedResponse("a page that is followed by itself")
            cursor = page.next_cursor
        if failure is not None:
            raise failure
        await OutboxStore(self.pool).delete_expired(self.retention, EXPIRED_HOLDS_A_ROUND)

    async def give_up(self, event: BillableEvent) -> Outcome | None:
        """Give up the hold of `event` through the fence, and return what now stands there; None when that failed.

        Where that is ABANDONED the release is on its way. Tried once, and never raises: what fails here is done by a
        later search. For a caller that is cancelled meanwhile it is done all the same.
        """
        return await asyncio.shield(self._keep(self._give_up(event)))

    async def _give_up(self, event: BillableEvent) -> Outcome | None:
        try:
            async with asyncio.timeout(GIVE_UP_TIMEOUT_SECONDS), self.pool.acquire() as connection:
                outcomes = await OutboxStore(connection).insert_abandoned([event])
        except Exception as error:
            log_fault("give_up_hold_failed", error, event_id=event.event_id)
            return None
        fenced = outcomes.get(event.hold_id)
        if fenced is None:
            return None
        if fenced.outcome is Outcome.ABANDONED:
            self.give_back(event)
        return fenced.outcome

    def give_back(self, event: BillableEvent) -> None:
        """Send the release of a hold that no request can use any more, beside whatever goes on; tried once."""
        if len(self._under_way) < MAX_GIVING_BACK:
            self._keep(self._give_back(event))

    def _keep(self, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        """Begin work beside whatever goes on; `finish` waits for it."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _give_back(self, event: BillableEvent) -> None:
        try:
            await self._releases.submit(event)
        except Exception as error:
            log_fault("give_back_hold_failed", error, event_id=event.event_id)

    async def await_release(self, event: BillableEvent) -> bool:
        """Release an abandoned hold, harmless twice, and return whether metering says that it is.

        Until then metering would grant the same hold again to a new attempt at its event.
        """
        return await self._releases.submit(event) == "released"

    async def finish(self) -> None:
        """Wait for what is given up and the releases that are on their way."""
        while self._under_way:
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _resolve(self, events: Sequence[BillableEvent]) -> None:
        """Resolve the holds of `events`, up to 500: release what was given up, settle what happened, as many units as
        it was.
        """
        if not events:
            return
        async with self.pool.acquire() as connection:
            outcomes = await OutboxStore(connection).insert_abandoned(events)
        known = [(event, outcomes[event.hold_id]) for event in events if event.hold_id in outcomes]
        abandoned = [event for event, fenced in known if fenced.outcome is Outcome.ABANDONED]
        happened = [
            event if fenced.units is None else replace(event, units=fenced.units, origin=fenced.origin)
            for event, fenced in known
            if fenced.outcome is not Outcome.ABANDONED
        ]
        if abandoned:
            await self._release(abandoned)
        if happened:
            await self.relay.settle(happened)
            self.metrics.holds_resolved.labels("settled").inc(len(happened))

    async def _release(self, events: Sequence[BillableEvent]) -> list[str]:
        by_hold = {event.hold_id: event for event in events}  # requests with one key share a hold
        states = await call_by_halves(self.metering.release, list(by_hold.values()))
        state_of = dict(zip(by_hold, states, strict=True))
        settled = [event for hold_id, event in by_hold.items() if state_of[hold_id] == "settled"]
        happened: AbstractSet[str] = set()
        if settled:
            # Normal where the fact is there after all: metering was restored, and charged it under this hold.
            happened = await OutboxStore(self.pool).list_happened(settled)
        for hold_id, state in state_of.items():
            if state in ("released", NOT_NOW):
                self.metrics.holds_resolved.labels(state).inc()
            elif hold_id not in happened:
                # Nothing happened for this hold, and yet metering charged it. Nobody but a person can say why.
                self.metrics.holds_resolved.labels("contradicted").inc()
                _log.error("abandoned_hold_not_released", hold_id=hold_id, state=state[:MAX_STATE_CHARACTERS])
        return [state_of[event.hold_id] for event in events]
