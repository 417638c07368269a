"""List plan plays: a page, or everything."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from uuid import UUID

from activity_service.plays.caller import Caller
from activity_service.plays.plan_play import PlanPlay, PlanPlayFilter, Position
from activity_service.plays.store import STREAM_BATCH_ROWS, PlanPlayStore
from service_chassis.http.cursor import CursorSigner


@dataclass(frozen=True, slots=True)
class Page:
    """Some plays of a list, and the cursor to go on with; None at the end."""

    plays: Sequence[PlanPlay]
    next_cursor: str | None


class ListPlanPlays:
    """Reads lists, newest first. `wanted` is what the caller may get; None is a list that cannot hold anything."""

    def __init__(self, store: PlanPlayStore, cursors: CursorSigner) -> None:
        self._store = store
        self._cursors = cursors

    async def fetch_page(self, caller: Caller, wanted: PlanPlayFilter | None, limit: int, cursor: str | None) -> Page:
        """Answer up to `limit` plays after `cursor`. Raises InvalidRequest for a cursor of another list or caller."""
        scope = ["plan-plays", *astuple(caller), *(astuple(wanted) if wanted else ())]
        after = _read_position(self._cursors.open(cursor, scope)) if cursor is not None else None
        if wanted is None:
            return Page((), None)
        plays = await self._store.list_plan_plays(wanted, limit + 1, after)
        if len(plays) <= limit:
            return Page(plays, None)
        last = plays[limit - 1]
        return Page(plays[:limit], self._cursors.seal([last.created_at.isoformat(), str(last.id)], scope))

    async def stream(self, wanted: PlanPlayFilter | None) -> AsyncGenerator[Sequence[PlanPlay], None]:
        """Yield all plays in batches, at least one, which may be empty.

        A list that fits into one batch takes one statement and no transaction. Close it when done: a longer one
        holds a connection meanwhile.
        """
        if wanted is None:
            yield ()
            return
        plays = await self._store.list_plan_plays(wanted, STREAM_BATCH_ROWS + 1)
        if len(plays) <= STREAM_BATCH_ROWS:
            yield plays
            return
        del plays
        batches = self._store.stream_plan_plays(wanted)
        try:
            async for batch in batches:
                yield batch
        finally:
            await batches.aclose()


def _read_position(sealed: list[str]) -> Position:
    created_at, play_id = sealed
    return Position(datetime.fromisoformat(created_at), UUID(play_id))
