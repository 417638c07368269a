"""Forget what is old: tables that would grow for ever otherwise, some rows at a time, so that others are served."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import asyncpg

from metering_service.accounts.ledger_store import LedgerStore
from metering_service.accounts.receipt_store import ReceiptStore
from metering_service.events.event_store import EventStore
from metering_service.notices.store import NoticeStore
from metering_service.refusals.store import RefusalStore
from metering_service.settings import MeteringSettings
from metering_service.shadow.store import ShadowStore
from service_chassis.operations.logging import log_fault

COUNTERS_KEPT = timedelta(days=35)
"""A quota per user and day makes a row for each; an operator who looks for one finds it that long."""
NOTICES_KEPT = timedelta(days=35)
"""As long as refusals: what was told last month can still be asked for and sent again."""
_ROWS_A_ROUND = 5_000
_CLIENTS_AT_ONCE = 500
_LINES_AT_ONCE = 500
"""So many are changed while the client's account is locked: a few milliseconds, and decisions wait 200."""
_MINUTE, _HOUR = 60.0, 3600.0

Round = tuple[str, Callable[[], Awaitable[None]], float]
"""A background task's name, what it does each time, and the pause before the next time, in seconds."""


def list_rounds(pool: asyncpg.Pool, settings: MeteringSettings) -> list[Round]:
    """Return the tasks that forget, each for one kind of thing."""
    events, notices, refusals, shadow = EventStore(pool), NoticeStore(pool), RefusalStore(pool), ShadowStore(pool)
    holds_kept = timedelta(seconds=settings.hold_retention_seconds)
    refusals_kept = timedelta(days=settings.refusal_retention_days)
    shadow_kept = timedelta(days=settings.shadow_retention_days)
    receipts_kept = timedelta(days=settings.receipt_retention_days)
    return [
        ("forget released holds", partial(forget, events.delete_expired, holds_kept), _MINUTE),
        ("forget counters", partial(forget, events.delete_ended_counters, COUNTERS_KEPT), _HOUR),
        ("forget receipts", partial(forget_receipts, pool, receipts_kept), _HOUR),
        ("forget refusals", partial(forget, refusals.delete_old, refusals_kept), _MINUTE),
        ("forget shadow refusals", partial(forget, shadow.delete_old, shadow_kept), _HOUR),
        ("forget notices", partial(forget, notices.delete_old, NOTICES_KEPT), _HOUR),
    ]


async def forget(delete: Callable[[timedelta, int], Awaitable[int]], kept: timedelta) -> None:
    """Have a store delete what is older than `kept`, until there is no more.

    With a connection for each round, so that whoever waits for one comes in between.
    """
    while await delete(kept, _ROWS_A_ROUND) >= _ROWS_A_ROUND:
        pass


async def forget_receipts(pool: asyncpg.Pool, kept: timedelta) -> None:
    """Forget what stood at each limit when an event was charged; that it was charged is never forgotten.

    Goes through all clients; one that cannot be changed now waits for the next time.
    """
    after: str | None = ""
    while after is not None:
        clients = await ReceiptStore(pool).list_clients(after, _CLIENTS_AT_ONCE, kept)
        for client_id in (client_id for client_id, has_older in clients if has_older):
            try:
                while await _forget_some(pool, client_id, kept):
                    pass
            except asyncpg.PostgresError as error:
                log_fault("receipts_not_forgotten", error)
        after = clients[-1][0] if len(clients) == _CLIENTS_AT_ONCE else None


async def _forget_some(pool: asyncpg.Pool, client_id: str, kept: timedelta) -> bool:
    async with pool.acquire() as connection, connection.transaction():
        await LedgerStore(connection).lock_account(client_id)
        return await ReceiptStore(connection).forget_details(client_id, kept, _LINES_AT_ONCE)
