"""Read everything an audit looks at, from one snapshot, in constant memory."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, TypeVar

import asyncpg

from metering_service.audit.checks import AccountFacts, ChargeFacts, OldHold, RepeatedEvent

READ_TIMEOUT_SECONDS = 3600.0
"""The joins read whole tables; an audit of a large ledger takes minutes and disturbs nobody."""
_PREFETCHED_ROWS = 1000

CLOCK_TOLERANCE = "60 seconds"
"""How far an account's last moment may be ahead of the database's clock."""

Row = TypeVar("Row")


class AuditStore:
    """Streams what the checks want, through one connection that the caller holds, in a snapshot.

    Closes: everything that changes meanwhile. Costs: hash joins over hold and ledger_entry, linear in their rows.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    _ACCOUNTS = f"""
        WITH ledger AS (
            SELECT l.client_id,
                   coalesce(sum(l.credits) FILTER (WHERE l.kind <> 'spend'), 0)::bigint AS granted,
                   coalesce(-sum(l.credits) FILTER (WHERE l.kind = 'spend'), 0)::bigint AS spent,
                   coalesce(sum(l.late_credits), 0)::bigint AS late,
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
            WHERE h.released_at IS NULL
            GROUP BY h.client_id
        ), named AS (
            SELECT client_id FROM account UNION SELECT client_id FROM ledger UNION SELECT client_id FROM live
        )
        SELECT n.client_id, a.client_id IS NOT NULL AS has_account,
               a.last_at > utc_now() + interval '{CLOCK_TOLERANCE}'
                 OR a.counted_on > (utc_now() + interval '{CLOCK_TOLERANCE}')::date AS is_ahead,
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
        SELECT l.client_id, l.event_id, l.credits, l.late_credits, l.held_at IS NULL, h.hold_id IS NOT NULL
        FROM ledger_entry l
        LEFT JOIN hold h ON h.client_id = l.client_id AND h.event_id = l.event_id AND h.event_type IS NOT NULL
        WHERE l.kind = 'spend'
    """

    def stream_charges(self) -> AsyncIterator[ChargeFacts]:
        """Yield every charge, and whether a hold of its event still lives."""
        return self._stream(self._CHARGES, lambda row: ChargeFacts(*row))

    _REPEATED = """
        SELECT client_id, event_id, count(*) FILTER (WHERE is_line), count(*) FILTER (WHERE NOT is_line)
        FROM (SELECT client_id, event_id, true AS is_line FROM ledger_entry WHERE kind = 'spend'
              UNION ALL
              SELECT client_id, event_id, false FROM hold WHERE released_at IS NULL) AS side
        GROUP BY client_id, event_id
        HAVING count(*) FILTER (WHERE is_line) > 1 OR count(*) FILTER (WHERE NOT is_line) > 1
    """

    def stream_repeated(self) -> AsyncIterator[RepeatedEvent]:
        """Yield events that were charged, or are held, more than once. The unique indexes should leave none."""
        return self._stream(self._REPEATED, lambda row: RepeatedEvent(*row))

    _OLD_HOLDS = """
        SELECT hold_id, event_id, client_id, credits, held_at FROM hold
        WHERE released_at IS NULL AND held_at <= $1 ORDER BY held_at, hold_id
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
    client_id, has_account, is_ahead, *amounts = row
    return AccountFacts(client_id, has_account, bool(is_ahead), *(amount or 0 for amount in amounts))
