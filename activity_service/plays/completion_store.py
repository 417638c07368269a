"""First completions in PostgreSQL: the change, in the transaction that bills it."""

from datetime import datetime

import asyncpg

from activity_service.plays.plan_play import PlanPlay, PlanPlayChanges
from activity_service.plays.store import PlanPlayStore
from metering_client.hold import Charge
from service_chassis.database.tenancy import CALLER


class CompletionStore:
    """Changes a play to `ended` for the first time in its life, in the transaction of its `Charge`.

    Closes: two first completions at once (the play's row lock, then `first_ended_at`), a completion against
    the sweeper (the fence's primary key), a completion against an erasure of its user, whom the event would name
    again (the play's row lock, then its user). Leaves to the fence: a response to COMMIT that is lost.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    # Sets the client for the whole transaction.
    _LOCK = f"""
        SELECT play.first_ended_at FROM {CALLER} CROSS JOIN LATERAL (
            SELECT first_ended_at FROM plan_play
            WHERE client_id = caller.client_id AND id = $2 AND user_id IS NOT DISTINCT FROM $3 FOR NO KEY UPDATE
        ) AS play
    """

    async def complete_plan_play(
        self, play: PlanPlay, changes: PlanPlayChanges, charge: Charge, now: datetime
    ) -> PlanPlay | None:
        """Apply `changes`, which end the play, and return the play as it then is.

        None where there is no such play of this user any more: it was deleted, or the user was erased. One that ended
        before, by another request, is changed all the same.
        """
        row = await self._connection.fetchrow(self._LOCK, play.client_id, play.id, play.user_id)
        if row is None:
            return None
        if row["first_ended_at"] is not None:
            # Whatever the fence says: metering was restored, and knows the fact by this hold alone, or it was billed.
            await charge.fence()
        return await PlanPlayStore(self._connection).update_plan_play(
            play.client_id, play.id, changes, now, first_ended_at=row["first_ended_at"] or now
        )
