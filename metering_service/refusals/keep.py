"""Keep refusals: gathered in each process, written once a second, and looked at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg

from metering_service.errors import RefusalNotFound
from metering_service.notices.store import NoticeStore
from metering_service.refusals.by_client import RefusalsByClient
from metering_service.refusals.refusal import FirstKey, RefusalLine, RefusalLog, list_first
from metering_service.refusals.store import RefusalStore
from service_chassis.http.cursor import cut_page

WRITE_INTERVAL_SECONDS = 1.0
_REMEMBERED_NOTICES = 100_000

EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
LAST_LINE = (LATEST, "", "", "", "")
"""Where a list of refusals begins, which goes backwards."""


@dataclass(slots=True)
class KeepRefusals:
    """Counts refusals beside the decisions, which do not wait for it. A killed process loses its last second."""

    pool: asyncpg.Pool
    by_client: RefusalsByClient
    log: RefusalLog = field(default_factory=RefusalLog)
    _told: set[FirstKey] = field(default_factory=set)
    """Of what the database would find written already: most refusals are not the first of their period."""

    async def run_once(self) -> None:
        """Write what was counted, and a notice of what is the first of its period.

        What cannot be written now is lost: refusals are no money.
        """
        taken = self.log.take_all()
        if taken:
            self.by_client.add(taken)
            if len(self._told) > _REMEMBERED_NOTICES:
                self._told.clear()
            first = list_first(taken, self._told)
            async with self.pool.acquire() as connection, connection.transaction():
                await RefusalStore(connection).add(taken)
                if first:
                    await NoticeStore(connection).insert_refused(list(first.values()))
            self._told |= first.keys()


async def find_refusals(
    pool: asyncpg.Pool,
    client_id: str,
    since: datetime | None,
    until: datetime | None,
    before: tuple[datetime, str, str, str, str],
    limit: int,
) -> tuple[Sequence[RefusalLine], RefusalLine | None]:
    """Return a page of a client's refusals, newest first, and its last one if more follow."""
    lines = await RefusalStore(pool).list_lines(client_id, since or EARLIEST, until or LATEST, before, limit + 1)
    return cut_page(lines, limit)


async def fetch_refusals(pool: asyncpg.Pool, client_id: str, key: tuple[datetime, str, str, str, str]) -> RefusalLine:
    """Return a client's refusals of one kind in one minute. Raises RefusalNotFound."""
    line = await RefusalStore(pool).fetch_line(client_id, key)
    if line is None:
        raise RefusalNotFound
    return line
