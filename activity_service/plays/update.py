"""Change a plan play, and bill its first completion exactly once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

import asyncpg

from activity_service.billing.metering_client import MeteringClient
from activity_service.billing.sweeper import Sweeper
from activity_service.errors import HoldAbandoned, NotCommitted, PlanPlayNotFound
from activity_service.plays.admission import Admission
from activity_service.plays.caller import Caller
from activity_service.plays.completion_store import Completion, CompletionStore
from activity_service.plays.plan_play import PlanPlay, PlanPlayChanges, play_completed
from activity_service.plays.read import ReadPlanPlays
from activity_service.plays.store import PlanPlayStore
from service_chassis.clock import Clock
from service_chassis.database.tenancy import begin_for


@dataclass(frozen=True, slots=True)
class UpdatePlanPlays:
    """Access first, then, for a first change to `ended`, authorize, then change and fence in one transaction.

    Of any number of concurrent first completions one is billed; the others change the play without an event.
    """

    pool: asyncpg.Pool
    read: ReadPlanPlays
    metering: MeteringClient
    sweeper: Sweeper
    admission: Admission
    kick_relay: Callable[[], None]
    clock: Clock

    async def update(self, caller: Caller, play_id: UUID, changes: PlanPlayChanges) -> PlanPlay:
        """Return the play as it is after `changes`.

        Raises PlanPlayNotFound, Forbidden, EventRefused or Overloaded when a first completion may not be (the
        play is then as it was), and ServiceErrors of status 500 when it cannot be known or done.
        """
        play = await self.read.fetch(caller, play_id)
        if changes.end_first(play):
            with self.admission.take_place():
                return await self._complete(play, changes)
        async with begin_for(self.pool, play.client_id) as connection:
            changed = await PlanPlayStore(connection).update_plan_play(play.client_id, play_id, changes, self.clock())
        if changed is None:
            raise PlanPlayNotFound
        return changed

    async def _complete(self, play: PlanPlay, changes: PlanPlayChanges) -> PlanPlay:
        event = play_completed(play)
        event = replace(event, hold_id=await self.metering.authorize(event))
        try:
            async with self.pool.acquire() as connection:
                outcome = await CompletionStore(connection).complete_plan_play(play.id, changes, event, self.clock())
        except NotCommitted:
            await self.sweeper.give_up(event)
            raise
        match outcome.completion:
            case Completion.VANISHED:
                await self.sweeper.give_up(event)
                raise PlanPlayNotFound
            case Completion.ABANDONED:
                raise HoldAbandoned
            case Completion.COMPLETED:
                self.kick_relay()
        assert outcome.play is not None  # noqa: S101 - says what the two cases left have in common
        return outcome.play
