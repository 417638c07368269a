"""Read one plan play."""

from uuid import UUID

from activity_service.errors import PlanPlayNotFound
from activity_service.plays.caller import Caller
from activity_service.plays.plan_play import PlanPlay
from activity_service.plays.store import PlanPlayStore
from service_chassis.errors import Forbidden


class ReadPlanPlay:
    """Finds a play and makes sure that the caller may see it."""

    def __init__(self, store: PlanPlayStore) -> None:
        self._store = store

    async def __call__(self, caller: Caller, play_id: UUID) -> PlanPlay:
        """Answer the play. Raises PlanPlayNotFound, or Forbidden for another client's or user's."""
        play = await self._store.fetch_plan_play(caller.client_id, play_id)
        if play is None:
            if await self._store.exists_for_anybody(play_id):
                raise Forbidden
            raise PlanPlayNotFound
        caller.require_access(play)
        return play
