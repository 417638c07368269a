"""Change a plan play, and bill its first completion exactly once."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from activity_service.billing.event import play_completed
from activity_service.billing.give_up_hold import GiveUpHold
from activity_service.billing.metering_client import MeteringClient
from activity_service.errors import HoldAbandoned, PlanPlayNotFound
from activity_service.plays.admission import Admission
from activity_service.plays.caller import Caller
from activity_service.plays.completion_store import Completion, CompletionStore, NotCommitted
from activity_service.plays.plan_play import PlanPlay, PlanPlayChanges
from activity_service.plays.read import ReadPlanPlay
from activity_service.plays.store import PlanPlayStore
from service_chassis.clock import Clock


class UpdatePlanPlay:
    """Access first, then, for a first change to `ended`, authorize, then change and fence in one transaction.

    Of any number of concurrent first completions one is billed; the others change the play without an event.
    """

    def __init__(
        self,
        read: ReadPlanPlay,
        plays: PlanPlayStore,
        completions: CompletionStore,
        metering: MeteringClient,
        give_up: GiveUpHold,
        admission: Admission,
        *,
        kick_relay: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._read = read
        self._plays = plays
        self._completions = completions
        self._metering = metering
        self._give_up = give_up
        self._admission = admission
        self._kick_relay = kick_relay
        self._clock = clock

    async def __call__(self, caller: Caller, play_id: UUID, changes: PlanPlayChanges) -> PlanPlay:
        """Answer the play as it is after `changes`.

        Raises PlanPlayNotFound, Forbidden, EventRefused or Overloaded when a first completion may not be (the
        play is then as it was), and ServiceErrors of status 500 when it cannot be known or done.
        """
        play = await self._read(caller, play_id)
        if changes.end_first(play):
            with self._admission.take_place():
                return await self._complete(play, changes)
        changed = await self._plays.update_plan_play(play.client_id, play_id, changes, self._clock())
        if changed is None:
            raise PlanPlayNotFound
        return changed

    async def _complete(self, play: PlanPlay, changes: PlanPlayChanges) -> PlanPlay:
        event = play_completed(play)
        event = replace(event, hold_id=await self._metering.authorize(event))
        try:
            outcome = await self._completions.complete_plan_play(play.id, changes, event, self._clock())
        except NotCommitted:
            await self._give_up(event)
            raise
        match outcome.completion:
            case Completion.VANISHED:
                await self._give_up(event)
                raise PlanPlayNotFound
            case Completion.ABANDONED:
                raise HoldAbandoned
            case Completion.COMPLETED:
                self._kick_relay()
        assert outcome.play is not None  # noqa: S101 - says what the two cases left have in common
        return outcome.play
