"""Find what was decided about a client's events between two moments."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import merge
from typing import Any

import asyncpg

from metering_service.events.decision import ChargeLine
from metering_service.events.event_store import EventStore
from metering_service.refusals.keep import EARLIEST, LAST_LINE, LATEST
from metering_service.refusals.refusal import RefusalLine
from metering_service.refusals.store import RefusalStore

DecisionLine = ChargeLine | RefusalLine


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended, which goes backwards: before which charge and before which refusal the next one begins."""

    charge: tuple[datetime, int] = (LATEST, 0)
    refusal: tuple[datetime, str, str, str, str] = LAST_LINE

    def move_to(self, line: DecisionLine) -> "Position":
        """Return the position after a line."""
        if isinstance(line, ChargeLine):
            return replace(self, charge=(line.at, line.entry_id))
        return replace(self, refusal=(line.minute, line.event_type, line.code, line.limit, line.user_id))


async def find_decisions(
    pool: asyncpg.Pool,
    client_id: str,
    since: datetime | None,
    until: datetime | None,
    position: Position,
    limit: int,
) -> tuple[Sequence[DecisionLine], Position | None]:
    """Return a page of charges and refusals from `since` up to `until`, and where it ended if more follows.

    Newest first; refusals are kept by minute and stand at its beginning.
    """
    begin, end = since or EARLIEST, until or LATEST
    charges = await EventStore(pool).list_charges(client_id, begin, end, position.charge, limit + 1)
    refusals = await RefusalStore(pool).list_lines(
        client_id, begin.replace(second=0, microsecond=0), end, position.refusal, limit + 1
    )
    sides: tuple[Sequence[DecisionLine], ...] = (charges, refusals)
    lines = list(merge(*sides, key=_moment, reverse=True))
    if len(lines) <= limit:
        return lines, None
    for line in lines[:limit]:
        position = position.move_to(line)
    return lines[:limit], position


def _moment(line: DecisionLine) -> datetime:
    return line.at if isinstance(line, ChargeLine) else line.minute


def as_document(line: DecisionLine) -> dict[str, Any]:
    """Return a line as JSON values. A refusal's `receipt` is that of the last one of its minute."""
    document = line.as_document()
    if isinstance(line, ChargeLine):
        return document
    del document["minute"]
    last_at, receipt = document.pop("lastAt"), document.pop("lastReceipt")
    return {"kind": "refusal", "at": last_at, **document, "receipt": receipt}
