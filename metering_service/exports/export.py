"""Export a client's ledger and usage, in batches of rows.

Between two of them nothing is held, however slowly they are taken.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import date

import asyncpg

from metering_service.accounts.administer import stream_entries
from metering_service.events.event import BALANCE_EXHAUSTED, NOT_SOLD, QUOTA_EXCEEDED, RATE_LIMITED
from metering_service.usage.read import stream_days
from service_chassis.rows import Row

LEDGER_COLUMNS = (
    *("entryId", "at", "kind", "credits", "day", "eventType", "eventId", "userId", "units", "late"),
    *("reference", "source", "note", "actor", "postedAt"),
)
USAGE_COLUMNS = (
    *("window", "eventType", "charged", "units", "credits", "overage"),
    *(f"refused.{code}" for code in (RATE_LIMITED, QUOTA_EXCEEDED, BALANCE_EXHAUSTED, NOT_SOLD)),
    "lastAt",
)


async def stream_ledger(pool: asyncpg.Pool, client_id: str, after: int = 0) -> AsyncIterator[Sequence[Row]]:
    """Yield the lines of a client's ledger, as `stream_entries`. Raises ClientNotFound."""
    async for entries in stream_entries(pool, client_id, after):
        yield [entry.as_document() for entry in entries]


async def stream_usage(
    pool: asyncpg.Pool, client_id: str, from_day: date | None, to_day: date | None
) -> AsyncIterator[Sequence[Row]]:
    """Yield a client's usage, a row for each day and event type, of days as `fetch_usage`.

    Raises InvalidRequest as it does, or ClientNotFound.
    """
    async for sums in stream_days(pool, client_id, from_day, to_day):
        yield [each.as_document("eventType") for each in sums]
