"""Change a plan play, and bill its first completion exactly once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import asyncpg

from activity_service.plays.plan_play import PLAY_COMPLETED, Caller, Fields, PlanPlay
from activity_service.plays.read import fetch_play
from activity_service.plays.store import PlanPlayStore
from metering_client.billing import Billing, attempt_twice
from metering_client.limits import Limit
from service_chassis.clock import Clock
from service_chassis.database.tenancy import begin_for


@dataclass(frozen=True, slots=True)
class UpdatePlanPlays:
    """Access first, then, for a first change to `ended`, authorize, then change and fence in one transaction.

    Of any number of concurrent first completions one is billed; the others change the play without an event.
    """

    pool: asyncpg.Pool
    billing: Billing
    attempt_seconds: float
    clock: Clock

    async def update(self, caller: Caller, play_id: str, changes: Fields) -> tuple[PlanPlay, Sequence[Limit]]:
        """Return the play as it is after `changes`, and what is left of the client's limits where they are billable.

        Raises PlanPlayNotFound, Forbidden, EventRefused or MeteringSlow when a first completion may not be (the
        play is then as it was), and ServiceErrors of status 500 when it cannot be known or done.
        """
        play = await fetch_play(self.pool, caller, play_id)
        if changes.get("status") == "ended" and play.first_ended_at is None:
            return await attempt_twice(partial(self._complete, play, changes), self.attempt_seconds)
        async with begin_for(self.pool, play.client_id) as connection:
            changed = await PlanPlayStore(connection).update_plan_play(play.client_id, play_id, changes, self.clock())
        return changed, ()

    async def _complete(self, play: PlanPlay, changes: Fields) -> tuple[PlanPlay, Sequence[Limit]]:
        """End the play for the first time, and bill it. Raises HoldAbandoned where the hold is over, and released."""
        async with self.billing.authorize(
            PLAY_COMPLETED, play.id, client_id=play.client_id, user_id=play.user_id
        ) as hold:
            now = self.clock()
            async with (
                self.pool.acquire(client_id=play.client_id) as connection,
                hold.charge(connection, at=now) as charge,
            ):
                changed = await PlanPlayStore(connection).complete_plan_play(play, changes, charge, now)
        return changed, hold.limits
