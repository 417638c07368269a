"""Create a plan play, and bill it exactly once."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import asyncpg
from uuid_utils.compat import uuid7

from activity_service.billing.event import Outcome
from activity_service.billing.metering_client import MeteringClient
from activity_service.billing.sweeper import Sweeper
from activity_service.errors import EventConflict, EventOfOtherContent, HoldAbandoned, HoldTaken
from activity_service.metrics import ActivityMetrics
from activity_service.plays.admission import Admission
from activity_service.plays.caller import Caller
from activity_service.plays.creation_store import REFUSED_ROWS, Creation, CreationStore
from activity_service.plays.idempotency import IdempotentRequest, StoredResponse
from activity_service.plays.plan_play import NewPlanPlay, PlanPlay, play_created, start_plan_play
from service_chassis.batching import Batcher
from service_chassis.clock import Clock

DATABASE_DEADLINE_SECONDS = 6.0
"""How long a request waits for one of its shared statements, waiting for its turn included."""

EncodePlay = Callable[[PlanPlay], bytes]
"""Writes the body of the response about a new play."""


@dataclass(frozen=True, slots=True)
class Created:
    """The body of the response, to the byte; `replayed` when it is the one that was sent before."""

    body: bytes
    replayed: bool


class CreatePlanPlays:
    """Replay, else authorize, then one transaction with the play, its fence and its key, then the relay.

    Statements of concurrent requests are gathered. Once a statement was sent, nobody here gives back the hold
    unless the database refused the row for certain: relay and sweeper read in the fence what happened.
    `pool` sees the rows of all clients.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        metering: MeteringClient,
        sweeper: Sweeper,
        admission: Admission,
        *,
        encode_play: EncodePlay,
        kick_relay: Callable[[], None],
        clock: Clock,
        metrics: ActivityMetrics,
    ) -> None:
        self._pool = pool
        self._metering = metering
        self._sweeper = sweeper
        self._admission = admission
        self._encode_play = encode_play
        self._kick_relay = kick_relay
        self._clock = clock
        self._responses: Batcher[IdempotentRequest, StoredResponse | None] = Batcher(
            self._list_responses,
            timeout_seconds=DATABASE_DEADLINE_SECONDS,
            observe_size=metrics.batch_sizes.labels("replay").observe,
        )
        self._creations: Batcher[Creation, Outcome] = Batcher(
            self._insert_plan_plays,
            timeout_seconds=DATABASE_DEADLINE_SECONDS,
            isolate_on=REFUSED_ROWS,
            observe_size=metrics.batch_sizes.labels("create").observe,
        )

    async def create(self, caller: Caller, new: NewPlanPlay, request: IdempotentRequest | None) -> Created:
        """Create what `new` says; with `request`, the identity of a create with a key, at most once.

        Raises InvalidRequest for another user's play or a key used for another body, EventRefused when metering
        denies it, Overloaded, and ServiceErrors of status 500 when it cannot be known or done.
        """
        with self._admission.take_place():
            return await self._create(caller, new, request)

    async def _create(self, caller: Caller, new: NewPlanPlay, request: IdempotentRequest | None) -> Created:
        user_id = caller.choose_user(new.user_id)
        if request is not None and (replayed := await self._find_response(request)):
            return replayed
        play_id = uuid7() if request is None else request.derive_play_id()
        play = start_plan_play(play_id, caller.client_id, user_id, new, self._clock())
        event = play_created(play)
        try:
            event = replace(event, hold_id=await self._metering.authorize(event))
        except EventConflict as error:
            # The same key with another userId at the same time. The first one's response may be there by now; if not,
            # it is under way: only a live hold or a charge makes metering say that it knows this event otherwise.
            if request is not None and isinstance(error, EventOfOtherContent):
                return await self._require_response(request, request.say_other_body())
            return await self._require_response(request, error)
        return await self._store_play(Creation(play, event, request, self._encode_play(play)))

    async def _store_play(self, creation: Creation) -> Created:
        try:
            outcome = await self._creations.submit(creation)
        except REFUSED_ROWS as error:
            await self._sweeper.give_up(creation.event)
            return await self._require_response(creation.request, error)
        if outcome is Outcome.ABANDONED:
            raise HoldAbandoned
        if outcome is Outcome.HAPPENED:
            return await self._require_response(creation.request, HoldTaken())
        self._kick_relay()
        return Created(creation.response, replayed=False)

    async def _find_response(self, request: IdempotentRequest) -> Created | None:
        stored = await self._responses.submit(request)
        if stored is None:
            return None
        stored.require_same_body(request)
        return Created(stored.body, replayed=True)

    async def _require_response(self, request: IdempotentRequest | None, error: Exception) -> Created:
        """Return the response that a request with the same key got meanwhile; raise `error` when there was none.

        A play and its stored response are committed together, so a play without one has lost it to an erasure: then
        raises InvalidRequest naming the key.
        """
        if request is None:
            raise error
        replayed = await self._find_response(request)
        if replayed is not None:
            return replayed
        async with self._pool.acquire() as connection:
            has_play = await CreationStore(connection).has_play(request.derive_play_id())
        if has_play:
            raise request.say_forgotten() from error
        raise error

    async def _list_responses(self, requests: list[IdempotentRequest]) -> list[StoredResponse | None]:
        async with self._pool.acquire() as connection:
            return await CreationStore(connection).list_responses(requests)

    async def _insert_plan_plays(self, creations: list[Creation]) -> list[Outcome]:
        async with self._pool.acquire() as connection:
            return await CreationStore(connection).insert_plan_plays(creations)
