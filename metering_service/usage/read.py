"""Look at usage."""

from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta

import asyncpg

from metering_service.accounts.ledger_store import LedgerStore
from metering_service.policies.store import PolicyStore
from metering_service.usage.store import UsageStore
from metering_service.usage.usage import GroupBy, Usage, UsageSum, Window
from service_chassis.errors import InvalidRequest

MAX_DAYS = 400


async def fetch_usage(
    pool: asyncpg.Pool,
    client_id: str,
    from_day: date | None,
    to_day: date | None,
    *,
    window: Window = "day",
    group_by: GroupBy = "eventType",
) -> Usage:
    """Return a client's usage of the days from `from_day` up to `to_day`; without, of the present month.

    Raises InvalidRequest where they are in the wrong order, or too far apart.
    """
    begin, end = await _choose_days(pool, from_day, to_day)
    store = UsageStore(pool)
    sums = await store.list_sums(client_id, begin, end, window, group_by)
    return Usage(client_id, begin, end, await store.is_final(client_id, begin, end), sums)


async def fetch_last_days(pool: asyncpg.Pool, client_id: str, days: int) -> Usage:
    """Return a client's usage by day and event type of the last `days`, today's among them."""
    today = (await PolicyStore(pool).fetch_now()).date()
    return await fetch_usage(pool, client_id, today - timedelta(days=days - 1), today + timedelta(days=1))


async def stream_days(
    pool: asyncpg.Pool, client_id: str, from_day: date | None, to_day: date | None
) -> AsyncIterator[Sequence[UsageSum]]:
    """Yield what `fetch_usage` would return by day and event type, the sums of each day, which may be none.

    Raises InvalidRequest as it does, or ClientNotFound.
    """
    await LedgerStore(pool).require_known(client_id)
    begin, end = await _choose_days(pool, from_day, to_day)
    for number in range((end - begin).days):
        day = begin + timedelta(days=number)
        yield await UsageStore(pool).list_sums(client_id, day, day + timedelta(days=1), "day", "eventType")


async def _choose_days(pool: asyncpg.Pool, from_day: date | None, to_day: date | None) -> tuple[date, date]:
    today = (await PolicyStore(pool).fetch_now()).date()
    begin = from_day or (to_day or today).replace(day=1)
    end = to_day or max(begin, today) + timedelta(days=1)
    if not 0 < (end - begin).days <= MAX_DAYS:
        raise InvalidRequest.field("to", f"Must be after from, by at most {MAX_DAYS} days.")
    return begin, end
