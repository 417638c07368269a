"""Change a plan play, and bill its first completion exactly once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from activity_service.billing.event import BillableEvent, Outcome
from activity_service.billing.limits import Limit
from activity_service.billing.metering_client import MeteringClient
from activity_service.billing.sweeper import Sweeper
from activity_service.errors import (
    HoldAbandoned,
    HoldReleased,
    HoldTaken,
    MeteringUnavailable,
    NotCommitted,
    PlanPlayNotFound,
)
from activity_service.plays.caller import Caller
from activity_service.plays.completion_store import Completion, CompletionStore
from activity_service.plays.plan_play import PlanPlay, PlanPlayChanges, play_completed
from activity_service.plays.read import ReadPlanPlays
from activity_service.plays.store import PlanPlayStore
from service_chassis.clock import Clock
from service_chassis.database.tenancy import begin_for


@dataclass(frozen=True, slots=True)
class Changed:
    """A play after a change; `limits` are what is left of each of the client's, where the change was billable."""

    play: PlanPlay
    limits: Sequence[Limit] = ()


@dataclass(frozen=True, slots=True)
class UpdatePlanPlays:
    """Access first, then, for a first change to `ended`, authorize, then change and fence in one transaction.

    Of any number of concurrent first completions one is billed; the others change the play without an event.
    """

    pool: asyncpg.Pool
    read: ReadPlanPlays
    metering: MeteringClient
    sweeper: Sweeper
    settle_soon: Callable[[BillableEvent], None]
    attempt_seconds: float
    retention: timedelta
    clock: Clock

    async def update(self, caller: Caller, play_id: str, changes: PlanPlayChanges) -> Changed:
        """Return the play as it is after `changes`.

        Raises PlanPlayNotFound, Forbidden, EventRefused or MeteringSlow when a first completion may not be (the
        play is then as it was), and ServiceErrors of status 500 when it cannot be known or done.
        """
        play = await self.read.fetch(caller, play_id)
        if changes.end_first(play):
            second_until = asyncio.get_running_loop().time() + self.attempt_seconds
            try:
                return await self._complete(play, changes)
            except (HoldAbandoned, HoldReleased):
                # Somebody took us for dead and gave our hold back. Another attempt has a hold of its own.
                if asyncio.get_running_loop().time() > second_until:
                    raise
                return await self._complete(play, changes)
        async with begin_for(self.pool, play.client_id) as connection:
            changed = await PlanPlayStore(connection).update_plan_play(play.client_id, play_id, changes, self.clock())
        if changed is None:
            raise PlanPlayNotFound
        return Changed(changed)

    async def _complete(self, play: PlanPlay, changes: PlanPlayChanges) -> Changed:
        """Raises HoldAbandoned where the hold is over, and released."""
        event = play_completed(play)
        try:
            grant = await self.metering.authorize(event)
        except MeteringUnavailable as error:
            if error.may_be_held:
                await self.sweeper.give_up(event)
            raise
        event.hold_id = grant.hold_id
        now = self.clock()
        try:
            async with self.pool.acquire() as connection:
                outcome = await CompletionStore(connection).complete_plan_play(
                    play.id, changes, event, grant, now, self.retention
                )
        except NotCommitted:
            await self.sweeper.give_up(event)
            raise
        match outcome.completion:
            case Completion.VANISHED:
                await self.sweeper.give_up(event)
                raise PlanPlayNotFound
            case Completion.ABANDONED:
                is_over = await self.sweeper.give_up(event) is Outcome.ABANDONED
                if is_over and await self.sweeper.await_release(event):
                    raise HoldAbandoned
                raise HoldTaken
            case Completion.COMPLETED:
                event.happened_at = now
                self.settle_soon(event)
        assert outcome.play is not None  # noqa: S101 - says what the two cases left have in common
        return Changed(outcome.play, grant.limits)
