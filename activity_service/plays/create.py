"""Create a plan play, and bill it exactly once."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from uuid_utils.compat import uuid7

from activity_service.billing.event import Fate, play_created
from activity_service.billing.give_up_hold import GiveUpHold
from activity_service.billing.metering_client import MeteringClient
from activity_service.errors import EventConflict, EventOfOtherContent, HoldAbandoned, HoldTaken
from activity_service.metrics import ActivityMetrics
from activity_service.plays.admission import Admission
from activity_service.plays.caller import Caller
from activity_service.plays.creation_store import REFUSED_ROWS, Creation, CreationStore
from activity_service.plays.idempotency import IdempotentRequest, KeptAnswer
from activity_service.plays.plan_play import NewPlanPlay, PlanPlay, start_plan_play
from service_chassis.batching import Batcher
from service_chassis.clock import Clock

CREATED = 201
DATABASE_DEADLINE_SECONDS = 6.0
"""How long a request waits for one of its shared statements, waiting for its turn included."""

Render = Callable[[PlanPlay], bytes]
"""Writes the answer about a new play."""


@dataclass(frozen=True, slots=True)
class CreateAnswer:
    """What to answer, to the byte; `replayed` when it is what was answered before."""

    status: int
    body: bytes
    replayed: bool


class CreatePlanPlay:
    """Replay, else authorize, then one transaction with the play, its fence and its key, then the relay.

    Statements of concurrent requests are gathered. Once a statement was sent, nobody here gives back the hold
    unless the database refused the row for certain: relay and sweeper read in the fence what happened.
    """

    def __init__(
        self,
        store: CreationStore,
        metering: MeteringClient,
        give_up: GiveUpHold,
        admission: Admission,
        *,
        render: Render,
        kick_relay: Callable[[], None],
        clock: Clock,
        metrics: ActivityMetrics,
    ) -> None:
        self._store = store
        self._metering = metering
        self._give_up = give_up
        self._admission = admission
        self._render = render
        self._kick_relay = kick_relay
        self._clock = clock
        self._answers: Batcher[IdempotentRequest, KeptAnswer | None] = Batcher(
            store.list_answers,
            patience_seconds=DATABASE_DEADLINE_SECONDS,
            observe_size=metrics.batch_sizes.labels("replay").observe,
        )
        self._creations: Batcher[Creation, Fate] = Batcher(
            store.insert_plan_plays,
            patience_seconds=DATABASE_DEADLINE_SECONDS,
            isolate_on=REFUSED_ROWS,
            observe_size=metrics.batch_sizes.labels("create").observe,
        )

    async def __call__(self, caller: Caller, new: NewPlanPlay, request: IdempotentRequest | None) -> CreateAnswer:
        """Create what `new` says; with `request`, the identity of a create with a key, at most once.

        Raises InvalidRequest for another user's play or a key used for another body, EventRefused when metering
        denies it, Overloaded, and ServiceErrors of status 500 when it cannot be known or done.
        """
        with self._admission.take_place():
            return await self._create(caller, new, request)

    async def _create(self, caller: Caller, new: NewPlanPlay, request: IdempotentRequest | None) -> CreateAnswer:
        user_id = caller.choose_user(new.user_id)
        if request is not None and (kept := await self._find_answer(request)):
            return kept
        play_id = uuid7() if request is None else request.derive_play_id()
        play = start_plan_play(play_id, caller.client_id, user_id, new, self._clock())
        event = play_created(play)
        try:
            event = replace(event, hold_id=await self._metering.authorize(event))
        except EventConflict as error:
            # The same key with another userId at the same time. The first one's answer may be there by now; if not,
            # it is under way: only a live hold or a charge makes metering say that it knows this event otherwise.
            if request is not None and isinstance(error, EventOfOtherContent):
                return await self._require_answer(request, request.say_other_body())
            return await self._require_answer(request, error)
        return await self._store_play(Creation(play, event, request, self._render(play), CREATED))

    async def _store_play(self, creation: Creation) -> CreateAnswer:
        try:
            fate = await self._creations.submit(creation)
        except REFUSED_ROWS as error:
            await self._give_up(creation.event)
            return await self._require_answer(creation.request, error)
        if fate is Fate.ABANDONED:
            raise HoldAbandoned
        if fate is Fate.HAPPENED:
            return await self._require_answer(creation.request, HoldTaken())
        self._kick_relay()
        return CreateAnswer(creation.status, creation.response, replayed=False)

    async def _find_answer(self, request: IdempotentRequest) -> CreateAnswer | None:
        kept = await self._answers.submit(request)
        if kept is None:
            return None
        kept.require_same_body(request)
        return CreateAnswer(kept.status, kept.response, replayed=True)

    async def _require_answer(self, request: IdempotentRequest | None, error: Exception) -> CreateAnswer:
        """Answer what a request with the same key was answered meanwhile; raise `error` when there was none.

        A play and its kept answer are committed together, so a play without one has lost it to an erasure: then
        raises InvalidRequest naming the key.
        """
        if request is None:
            raise error
        answer = await self._find_answer(request)
        if answer is not None:
            return answer
        if await self._store.has_play(request.derive_play_id()):
            raise request.say_forgotten() from error
        raise error
