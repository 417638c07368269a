"""Read plan plays: one, a page of them, or all.

Lists are newest first; `wanted` is what the caller may get, None a list that can hold nothing.
"""

from collections.abc import AsyncGenerator, Sequence

import asyncpg

from activity_service.errors import PlanPlayNotFound
from activity_service.plays.plan_play import Caller, PlanPlay, PlanPlayFilter, Position
from activity_service.plays.store import PlanPlayStore
from service_chassis.errors import Forbidden
from service_chassis.http.cursor import cut_page

STREAM_BATCH_PLAYS = 200
"""Plays of a long list that are in memory at once."""


async def fetch_play(pool: asyncpg.Pool, caller: Caller, play_id: str) -> PlanPlay:
    """Return a play. Raises PlanPlayNotFound, or Forbidden for another client's or user's."""
    async with pool.acquire(client_id=caller.client_id) as connection:
        store = PlanPlayStore(connection)
        play = await store.fetch_plan_play(caller.client_id, play_id)
        is_anothers = play is None and await store.exists_for_anybody(play_id)
    if is_anothers:
        raise Forbidden
    if play is None:
        raise PlanPlayNotFound
    caller.require_access(play)
    return play


async def list_page(
    pool: asyncpg.Pool, wanted: PlanPlayFilter | None, limit: int, after: Position | None
) -> tuple[Sequence[PlanPlay], PlanPlay | None]:
    """Return up to `limit` plays after a position, and the last of them if more follow, else None."""
    if wanted is None:
        return (), None
    async with pool.acquire(client_id=wanted.client_id) as connection:
        return cut_page(await PlanPlayStore(connection).list_plan_plays(wanted, limit + 1, after), limit)


async def stream_plays(pool: asyncpg.Pool, wanted: PlanPlayFilter | None) -> AsyncGenerator[Sequence[PlanPlay], None]:
    """Yield all plays in batches, at least one, which may be empty.

    Each batch is a page of its own: between them nothing is held, however slowly the list is read. A play that is
    created meanwhile is not in it, and one that is changed meanwhile is in it once, before or after the change.
    """
    after: Position | None = None
    while True:
        plays, last = await list_page(pool, wanted, STREAM_BATCH_PLAYS, after)
        yield plays
        if last is None:
            return
        after = Position(last.created_at, last.id)
