"""Create a plan play, and bill it exactly once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import asyncpg
from uuid_utils import uuid7

from activity_service.metrics import ActivityMetrics
from activity_service.plays.creation_store import REFUSED_ROWS, Creation, CreationStore, Stored
from activity_service.plays.idempotency import IdempotentRequest
from activity_service.plays.plan_play import Caller, Fields, PlanPlay, play_created, start_plan_play
from metering_client.billing import Billing, attempt_twice
from metering_client.errors import EventOfOtherContent, HoldAbandoned, HoldTaken, MeteringUnavailable
from metering_client.event import BillableEvent, Grant, Outcome
from metering_client.limits import Limit
from service_chassis.batching import Batcher
from service_chassis.clock import Clock
from service_chassis.errors import ServiceError

DATABASE_DEADLINE_SECONDS = 6.0
"""How long a request waits for one of its shared statements, waiting for its turn included."""


@dataclass(slots=True)
class Created:
    """The play as it was when it was new; `replayed` when it was created by an earlier request with the same key.

    `limits` are what is left of each of the client's after a create.
    """

    play: PlanPlay
    replayed: bool
    limits: Sequence[Limit] = ()


class CreatePlanPlays:
    """Authorize, then one statement with the play and its fence, then the relay.

    Statements of concurrent requests are gathered. No key is looked up before: metering knows an event that was
    charged or is held, and the play's own key stops a second one. Once a statement was sent, nobody here gives back
    the hold unless the fence says that it was given up: relay and sweeper read there what happened. `pool` sees the
    rows of all clients.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        billing: Billing,
        *,
        attempt_seconds: float,
        clock: Clock,
        metrics: ActivityMetrics,
    ) -> None:
        self._pool = pool
        self._metering = billing.metering
        self._sweeper = billing.sweeper
        self._settle_soon = billing.settle_soon
        self._attempt_seconds = attempt_seconds
        self._retention = billing.retention
        self._clock = clock
        self._plays: Batcher[str, tuple[PlanPlay, bytes | None] | None] = Batcher(
            self._list_plays,
            timeout_seconds=DATABASE_DEADLINE_SECONDS,
            observe_size=metrics.batch_sizes.labels("replay").observe,
        )
        self._creations: Batcher[Creation, Stored] = Batcher(
            self._insert_plan_plays,
            timeout_seconds=DATABASE_DEADLINE_SECONDS,
            isolate_on=REFUSED_ROWS,
            observe_size=metrics.batch_sizes.labels("create").observe,
        )

    async def create(self, caller: Caller, new: Fields, request: IdempotentRequest | None) -> Created:
        """Create what `new` says; with `request`, the identity of a create with a key, at most once.

        Raises InvalidRequest for another user's play or a key used for another body, EventRefused when metering
        denies it, MeteringSlow, and ServiceErrors of status 500 when it cannot be known or done.
        """
        user_id = caller.choose_user(new.get("user_id"))
        play_id = str(uuid7()) if request is None else request.play_id
        play = start_plan_play(play_id, caller.client_id, user_id, new, self._clock())
        return await attempt_twice(partial(self._attempt, play, request), self._attempt_seconds)

    async def _attempt(self, play: PlanPlay, request: IdempotentRequest | None) -> Created:
        """Ask for a hold and store the play under it. Raises HoldAbandoned where the hold is over, and released."""
        event = play_created(play)
        try:
            grant = await self._metering.authorize(event)
        except ServiceError as error:
            await self._give_up(event, error, request)
            return await self._require_replay(request, error)
        if grant.is_settled and (replay := await self._find_replay(request)):
            return replay
        event.hold_id = grant.hold_id
        try:
            stored = await self._creations.submit(
                Creation(play, event, grant, request.fingerprint if request else None)
            )
        except REFUSED_ROWS as error:
            await self._sweeper.give_up(event)
            return await self._require_replay(request, error)
        if stored.is_announced:
            event.happened_at = play.created_at
            self._settle_soon(event)
        if stored.is_new:
            return Created(play, replayed=False, limits=grant.limits)
        return await self._find_replay(request) or await self._end_attempt(event, grant, request)

    async def _give_up(self, event: BillableEvent, error: ServiceError, request: IdempotentRequest | None) -> None:
        """Give back at once what metering may hold for an attempt that ends here.

        With a key another request may share the hold: then the fence decides. A hold that nobody shares needs no row.
        """
        if isinstance(error, MeteringUnavailable) and error.may_be_held:
            if request is None:
                self._sweeper.give_back(event)
            else:
                await self._sweeper.give_up(event)

    async def _end_attempt(self, event: BillableEvent, grant: Grant, request: IdempotentRequest | None) -> Created:
        """End an attempt whose hold could not be used, and whose play is not there."""
        is_over = not grant.is_settled and await self._sweeper.give_up(event) is Outcome.ABANDONED
        if is_over and await self._sweeper.await_release(event):
            raise HoldAbandoned
        return await self._require_replay(request, HoldTaken())

    async def _require_replay(self, request: IdempotentRequest | None, error: Exception) -> Created:
        """Return the response that a request with the same key got before; raise `error` when there was none."""
        if (replay := await self._find_replay(request)) is not None:
            return replay
        if request is not None and isinstance(error, EventOfOtherContent):
            # The same key with another userId at the same time, and the first one's play is not there yet.
            raise request.say_other_body()
        raise error

    async def _find_replay(self, request: IdempotentRequest | None) -> Created | None:
        """Return the play that the key of `request` made before. Raises InvalidRequest where its body was another."""
        found = None if request is None else await self._plays.submit(request.play_id)
        if request is None or found is None:
            return None
        play, fingerprint = found
        request.require_same_body(fingerprint)
        return Created(play.as_created(), replayed=True)

    async def _list_plays(self, play_ids: list[str]) -> list[tuple[PlanPlay, bytes | None] | None]:
        async with self._pool.acquire() as connection:
            return await CreationStore(connection).list_plays(play_ids)

    async def _insert_plan_plays(self, creations: list[Creation]) -> list[Stored]:
        async with self._pool.acquire() as connection:
            return await CreationStore(connection).insert_plan_plays(creations, self._retention)
