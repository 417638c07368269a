"""Read everything an audit looks at, from one snapshot, in constant memory."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, TypeVar

import asyncpg

from metering_service.audit.checks import AccountFacts, ChargePair, ChargeSide, OldHold, RepeatedEvent

READ_TIMEOUT_SECONDS = 3600.0
"""The joins read whole tables; an audit of a large ledger takes minutes and disturbs nobody."""
_PREFETCHED_ROWS = 1000

Row = TypeVar("Row")


class AuditStore:
    """Streams what the checks want, through one connection that the caller holds, in a snapshot.

    Closes: everything that changes meanwhile. Costs: hash joins over hold and ledger_entry, linear in their rows.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    _ACCOUNTS = """
        WITH ledger AS (
            SELECT l.client_id,
                   coalesce(sum(l.credits) FILTER (WHERE l.kind <> 'spend'), 0)::bigint AS granted,
                   coalesce(-sum(l.credits) FILTER (WHERE l.kind = 'spend'), 0)::bigint AS spent,
                   coalesce(-sum(l.credits) FILTER (WHERE l.kind = 'spend' AND l.late), 0)::bigint AS late,
                   count(*) FILTER (WHERE l.kind = 'spend' AND l.counted_on = a.counted_on) AS day_used,
                   count(*) FILTER (WHERE l.kind = 'spend'
                                    AND l.counted_on >= date_trunc('month', a.counted_on)::date) AS month_used
            FROM ledger_entry l LEFT JOIN account a ON a.client_id = l.client_id
            GROUP BY l.client_id
        ), live AS (
            SELECT h.client_id, sum(h.credits)::bigint AS held,
                   count(*) FILTER (WHERE h.counted_on = a.counted_on) AS day_held,
                   count(*) FILTER (WHERE h.counted_on >= date_trunc('month', a.counted_on)::date) AS month_held
            FROM hold h LEFT JOIN account a ON a.client_id = h.client_id
            WHERE h.state = 'held'
            GROUP BY h.client_id
        ), named AS (
            SELECT client_id FROM account UNION SELECT client_id FROM ledger UNION SELECT client_id FROM live
        )
        SELECT n.client_id, a.client_id IS NOT NULL AS has_account,
               a.granted, a.spent, a.held, a.late_spent, a.day_used, a.day_held, a.month_used, a.month_held,
               l.granted, l.spent, l.late, l.day_used, l.month_used, v.held, v.day_held, v.month_held
        FROM named n
        LEFT JOIN account a ON a.client_id = n.client_id
        LEFT JOIN ledger l ON l.client_id = n.client_id
        LEFT JOIN live v ON v.client_id = n.client_id
    """

    def stream_accounts(self) -> AsyncIterator[AccountFacts]:
        """Yield every account, and every client that entries or holds name without one."""
        return self._stream(self._ACCOUNTS, _read_account)

    _CHARGES = """
        SELECT coalesce(h.event_id, l.event_id) AS event_id,
               h.hold_id, h.client_id, h.event_type, h.credits, h.counted_on, h.late,
               l.hold_id, l.client_id, l.event_type, -l.credits, l.counted_on, l.late
        FROM (SELECT * FROM hold WHERE state = 'settled') h
        FULL JOIN (SELECT * FROM ledger_entry WHERE kind = 'spend') l ON l.event_id = h.event_id
    """

    def stream_charges(self) -> AsyncIterator[ChargePair]:
        """Yield every settled hold beside the ledger line of its event, and either without the other."""
        return self._stream(self._CHARGES, _read_charge)

    _REPEATED = """
        SELECT event_id, count(*) FILTER (WHERE is_line) AS lines, count(*) FILTER (WHERE NOT is_line) AS live_holds
        FROM (SELECT event_id, true AS is_line FROM ledger_entry WHERE kind = 'spend'
              UNION ALL
              SELECT event_id, false FROM hold WHERE state IN ('held', 'settled')) AS side
        GROUP BY event_id
        HAVING count(*) FILTER (WHERE is_line) > 1 OR count(*) FILTER (WHERE NOT is_line) > 1
    """

    def stream_repeated(self) -> AsyncIterator[RepeatedEvent]:
        """Yield events that were charged, or are held, more than once. The unique indexes should leave none."""
        return self._stream(self._REPEATED, lambda row: RepeatedEvent(*row))

    _OLD_HOLDS = """
        SELECT hold_id, event_id, client_id, credits, held_at FROM hold
        WHERE state = 'held' AND held_at <= $1 ORDER BY held_at, hold_id
    """

    def stream_old_holds(self, held_before: datetime) -> AsyncIterator[OldHold]:
        """Yield holds that nobody has resolved since `held_before`, oldest first."""
        return self._stream(self._OLD_HOLDS, lambda row: OldHold(*row), held_before)

    async def _stream(
        self, statement: str, read: Callable[[asyncpg.Record], Row], *arguments: Any
    ) -> AsyncIterator[Row]:
        rows = self._connection.cursor(statement, *arguments, prefetch=_PREFETCHED_ROWS, timeout=READ_TIMEOUT_SECONDS)
        async for row in rows:
            yield read(row)


def _read_account(row: asyncpg.Record) -> AccountFacts:
    client_id, has_account, *amounts = row
    return AccountFacts(client_id, has_account, *(amount or 0 for amount in amounts))


def _read_charge(row: asyncpg.Record) -> ChargePair:
    event_id, *sides = row
    hold, line = sides[:6], sides[6:]
    return ChargePair(
        event_id,
        ChargeSide(*hold) if hold[0] is not None else None,
        ChargeSide(*line) if line[0] is not None else None,
    )
