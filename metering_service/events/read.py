"""Look at events: where one stands, and which are held."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from metering_service.accounts.grant_store import GrantStore
from metering_service.errors import EventNotFound
from metering_service.events.decision import EventState
from metering_service.events.event import HeldEvent
from metering_service.events.event_store import EventStore
from service_chassis.http.cursor import cut_page

FIRST_HELD = (datetime(2000, 1, 1, tzinfo=UTC), UUID(int=0))
"""Where a list of held events begins."""


async def fetch_event(pool: asyncpg.Pool, client_id: str, event_id: str) -> EventState:
    """Return where an event of a client stands. Raises EventNotFound."""
    state = await EventStore(pool).fetch_event(client_id, event_id)
    if state is None:
        raise EventNotFound(event_id)
    if state.state == "settled":
        return replace(state, payers=await GrantStore(pool).list_payers(client_id, event_id))
    return state


async def list_held(
    pool: asyncpg.Pool, service: str | None, older_than_seconds: int, after: tuple[datetime, UUID], limit: int
) -> tuple[Sequence[HeldEvent], HeldEvent | None]:
    """Return a page of events that `service`, None for any, has held for so long, oldest first.

    With its last one if more follow. `after` is the `held_at` and `hold_id` of the last one of the page before.
    """
    older_than = timedelta(seconds=older_than_seconds)
    return cut_page(await EventStore(pool).list_held(service, older_than, after, limit + 1), limit)
