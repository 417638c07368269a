"""Read everything an audit looks at, from one snapshot, in constant memory."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, TypeVar

import asyncpg

from metering_service.audit.checks import (
    AccountFacts,
    ChargeFacts,
    CounterFacts,
    OldHold,
    RefundFacts,
    RepeatedEvent,
    RepeatedPeriod,
    UsageFacts,
)
from metering_service.audit.notice_checks import DeadWebhook, QuotaNotice
from service_chassis.database.store import Store

READ_TIMEOUT_SECONDS = 3600.0
"""The joins read whole tables; an audit of a large ledger takes minutes and disturbs nobody."""
_PREFETCHED_ROWS = 1000

CLOCK_TOLERANCE = "60 seconds"
"""How far an account's last moment may be ahead of the database's clock."""

Row = TypeVar("Row")


class AuditStore(Store):
    """Streams what the checks want, through one connection that the caller holds, in a snapshot.

    Closes: everything that changes meanwhile. Costs: hash joins over hold and ledger_entry, linear in their rows.
    """

    _ACCOUNTS = f"""
        WITH ledger AS (
            SELECT client_id, sum(credits) FILTER (WHERE kind IN ('grant', 'refund'))::bigint AS granted,
                   sum(credits) FILTER (WHERE kind = 'adjust')::bigint AS adjusted,
                   -sum(credits) FILTER (WHERE kind = 'spend')::bigint AS spent,
                   -sum(credits) FILTER (WHERE kind IN ('expire', 'void'))::bigint AS expired,
                   sum(late_credits)::bigint AS late,
                   -sum(credits) FILTER (WHERE kind = 'adjust' AND credits < 0)::bigint AS taken,
                   sum(credits) FILTER (WHERE kind IN ('grant', 'refund', 'adjust') AND credits > 0)::bigint AS given,
                   sum(pinned_credits)::bigint AS pinned
            FROM ledger_entry GROUP BY client_id
        ), live AS (
            SELECT client_id, sum(credits)::bigint AS held, sum(pinned)::bigint AS pinned
            FROM hold WHERE released_at IS NULL GROUP BY client_id
        ), given AS (
            SELECT client_id, sum(credits - remaining - pinned - lapsed)::bigint AS taken,
                   sum(lapsed)::bigint AS lapsed, sum(pinned)::bigint AS pinned, sum(credits)::bigint AS credits
            FROM credit_grant WHERE state NOT IN ('booked', 'cancelled') GROUP BY client_id
        ), drawn AS (
            SELECT client_id, sum(credits)::bigint AS credits FROM credit_draw GROUP BY client_id
        ), pin AS (
            SELECT client_id, sum(credits) FILTER (WHERE paid IS NULL)::bigint AS held, sum(paid)::bigint AS paid
            FROM credit_pin GROUP BY client_id
        ), ahead AS (
            SELECT DISTINCT client_id FROM counter WHERE starts_at > utc_now() + interval '{CLOCK_TOLERANCE}'
        ), named AS (
            SELECT client_id FROM account UNION SELECT client_id FROM ledger UNION SELECT client_id FROM live
        )
        SELECT n.client_id, a.client_id IS NOT NULL AS has_account,
               a.last_at > utc_now() + interval '{CLOCK_TOLERANCE}' OR h.client_id IS NOT NULL AS is_ahead,
               a.last_at >= least(a.next_moment, find_next_moment(n.client_id)) AS is_behind,
               a.granted, a.adjusted, a.spent, a.expired, a.held, a.late_spent, a.overdraft, a.laid, a.pinned_spent,
               l.granted, l.adjusted, l.spent, l.expired, l.late, l.taken, v.held, v.pinned,
               g.taken, g.lapsed, g.pinned, g.credits, l.given, l.pinned, d.credits, p.held, p.paid
        FROM named n
        LEFT JOIN account a ON a.client_id = n.client_id
        LEFT JOIN ledger l ON l.client_id = n.client_id
        LEFT JOIN live v ON v.client_id = n.client_id
        LEFT JOIN given g ON g.client_id = n.client_id
        LEFT JOIN drawn d ON d.client_id = n.client_id
        LEFT JOIN pin p ON p.client_id = n.client_id
        LEFT JOIN ahead h ON h.client_id = n.client_id
    """

    def stream_accounts(self) -> AsyncIterator[AccountFacts]:
        """Yield every account, and every client that entries or holds name without one."""
        return self._stream(self._ACCOUNTS, _read_account)

    _COUNTERS = """
        WITH line AS (
            SELECT client_id, unnest(counter_ids) AS counter_id, units, -credits AS credits FROM ledger_entry
            WHERE kind = 'spend' AND counter_ids IS NOT NULL
        ), live AS (
            SELECT client_id, unnest(counter_ids) AS counter_id, units, credits FROM hold
            WHERE released_at IS NULL AND counter_ids IS NOT NULL
        ), charged AS (
            SELECT client_id, counter_id, count(*) AS events, sum(units) AS units, sum(credits) AS credits
            FROM line GROUP BY client_id, counter_id
        ), held AS (
            SELECT client_id, counter_id, count(*) AS events, sum(units) AS units, sum(credits) AS credits
            FROM live GROUP BY client_id, counter_id
        )
        SELECT c.client_id, c.name, c.starts_at, c.used, c.held,
               coalesce(CASE c.counts WHEN 'events' THEN l.events WHEN 'units' THEN l.units ELSE l.credits END, 0),
               coalesce(CASE c.counts WHEN 'events' THEN h.events WHEN 'units' THEN h.units ELSE h.credits END, 0)
        FROM counter c
        LEFT JOIN charged l ON l.client_id = c.client_id AND l.counter_id = c.counter_id
        LEFT JOIN held h ON h.client_id = c.client_id AND h.counter_id = c.counter_id
    """

    def stream_counters(self) -> AsyncIterator[CounterFacts]:
        """Yield every counter of a quota, in every period."""
        return self._stream(self._COUNTERS, _read_counter)

    _USAGE = """
        WITH line AS (
            SELECT client_id, event_type, counted_on AS day, count(*) AS charged, sum(units)::bigint AS units,
                   -sum(credits)::bigint AS credits,
                   coalesce(sum((SELECT sum(each) FROM unnest(overage) AS each)), 0)::bigint AS overage,
                   min(at) AS first_at
            FROM ledger_entry WHERE kind = 'spend' GROUP BY client_id, event_type, counted_on
        )
        SELECT coalesce(u.client_id, l.client_id), coalesce(u.event_type, l.event_type), coalesce(u.day, l.day),
               coalesce(u.charged, 0), coalesce(u.units, 0), coalesce(u.credits, 0), coalesce(u.overage, 0),
               coalesce(l.charged, 0), coalesce(l.units, 0), coalesce(l.credits, 0),
               -- Of which no line tells any more where its receipt is forgotten.
               CASE WHEN l.first_at <= f.upto THEN greatest(u.overage, l.overage) ELSE coalesce(l.overage, 0) END
        FROM usage u
        FULL OUTER JOIN line l ON l.client_id = u.client_id AND l.event_type = u.event_type AND l.day = u.day
        LEFT JOIN receipt_forgotten f ON f.client_id = l.client_id
    """

    def stream_usage(self) -> AsyncIterator[UsageFacts]:
        """Yield the usage of every client, event type and day, and where there is none the ledger's."""
        return self._stream(self._USAGE, _read_usage)

    _REFUNDS = """
        SELECT g.client_id, g.event_id, -l.credits, sum(g.credits)::bigint
        FROM credit_grant g
        LEFT JOIN ledger_entry l ON l.client_id = g.client_id AND l.event_id = g.event_id AND l.kind = 'spend'
        WHERE g.kind = 'refund' GROUP BY g.client_id, g.event_id, l.credits
    """

    def stream_refunds(self) -> AsyncIterator[RefundFacts]:
        """Yield every event that something was refunded of."""
        return self._stream(self._REFUNDS, lambda row: RefundFacts(*row))

    _REPEATED_PERIODS = """
        SELECT client_id, recurring_id, effective_at, count(*) FROM credit_grant WHERE recurring_id IS NOT NULL
        GROUP BY client_id, recurring_id, effective_at HAVING count(*) > 1
    """

    def stream_repeated_periods(self) -> AsyncIterator[RepeatedPeriod]:
        """Yield periods of recurring grants that were granted more than once."""
        return self._stream(self._REPEATED_PERIODS, lambda row: RepeatedPeriod(*row))

    _CHARGES = """
        SELECT l.client_id, l.event_id, l.credits, l.late_credits, l.held_at IS NULL, h.hold_id IS NOT NULL
        FROM ledger_entry l
        LEFT JOIN hold h ON h.client_id = l.client_id AND h.event_id = l.event_id AND h.event_type IS NOT NULL
        WHERE l.kind = 'spend'
    """

    def stream_charges(self) -> AsyncIterator[ChargeFacts]:
        """Yield every charge, and whether a hold of its event still lives."""
        return self._stream(self._CHARGES, lambda row: ChargeFacts(*row))

    _NOTICES = """
        SELECT n.client_id, c.name, (n.data ->> 'used')::bigint, c.used
        FROM notice n JOIN counter c ON c.client_id = n.client_id AND c.counter_id::text = n.key
        WHERE n.kind = 'quota'
    """

    def stream_notices(self) -> AsyncIterator[QuotaNotice]:
        """Yield every notice of a quota whose counter is kept."""
        return self._stream(self._NOTICES, lambda row: QuotaNotice(*row))

    _DEAD_WEBHOOKS = """
        SELECT w.notice_id, n.client_id, w.receiver, w.last_error
        FROM webhook w JOIN notice n ON n.notice_id = w.notice_id WHERE w.dead_at IS NOT NULL
    """

    def stream_dead_webhooks(self) -> AsyncIterator[DeadWebhook]:
        """Yield what was given up of sending notices."""
        return self._stream(self._DEAD_WEBHOOKS, lambda row: DeadWebhook(*row))

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
    client_id, has_account, is_ahead, is_behind, *amounts = row
    return AccountFacts(client_id, has_account, bool(is_ahead), bool(is_behind), *(amount or 0 for amount in amounts))


def _read_counter(row: asyncpg.Record) -> CounterFacts:
    client_id, name, starts_at, used, held, charged, holds = row
    return CounterFacts(client_id, name, starts_at, used, held, int(charged), int(holds))


def _read_usage(row: asyncpg.Record) -> UsageFacts:
    client_id, event_type, day, *sums = row
    return UsageFacts(client_id, event_type, day, tuple(sums[:4]), tuple(sums[4:]))
