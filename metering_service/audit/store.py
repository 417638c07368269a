"""What must be true of accounts, holds, ledger and notices at every moment, as statements that find where it is not.

Each returns findings: the rule that is broken, what it is about, and what is wrong in words that name both sides.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from service_chassis.cli.audit_report import Finding
from service_chassis.database.store import Store

READ_TIMEOUT_SECONDS = 3600.0
"""The joins read whole tables; an audit of a large ledger takes minutes and disturbs nobody."""
_PREFETCHED_ROWS = 1000

CLOCK_TOLERANCE = "60 seconds"
"""How far an account's last moment may be ahead of the database's clock."""

_CLIENTS = """
    SELECT client_id FROM account
    UNION SELECT client_id FROM ledger_entry
    UNION SELECT client_id FROM hold WHERE released_at IS NULL
"""
"""Also those that entries or holds name, and that have no account."""

# `laid` and `pinned_spent` are what was taken from grants for what was spent, `ledger_taken` what corrections down
# took. An account is ahead whose last moment, or a period that counts, has not come yet: the database's clock was
# wrong. It is behind where its grants should have changed before its last moment.
_WRONG_ACCOUNTS = f"""
    WITH ledger AS (
        SELECT client_id, sum(credits) FILTER (WHERE kind IN ('grant', 'refund'))::bigint AS granted,
               sum(credits) FILTER (WHERE kind = 'adjust')::bigint AS adjusted,
               -sum(credits) FILTER (WHERE kind = 'spend')::bigint AS spent,
               -sum(credits) FILTER (WHERE kind IN ('expire', 'void'))::bigint AS expired,
               sum(late_credits)::bigint AS late,
               -sum(credits) FILTER (WHERE kind = 'adjust' AND credits < 0)::bigint AS taken
        FROM ledger_entry GROUP BY client_id
    ), live AS (
        SELECT client_id, sum(credits)::bigint AS held, sum(pinned)::bigint AS pinned
        FROM hold WHERE released_at IS NULL GROUP BY client_id
    ), given AS (
        SELECT client_id, sum(credits - remaining - pinned - lapsed)::bigint AS taken,
               sum(lapsed)::bigint AS lapsed, sum(pinned)::bigint AS pinned
        FROM credit_grant WHERE state NOT IN ('booked', 'cancelled') GROUP BY client_id
    ), ahead AS (
        SELECT DISTINCT client_id FROM counter WHERE starts_at > utc_now() + interval '{CLOCK_TOLERANCE}'
    ), fact AS (
        SELECT n.client_id, a.client_id IS NOT NULL AS has_account,
               a.last_at > utc_now() + interval '{CLOCK_TOLERANCE}' OR h.client_id IS NOT NULL AS is_ahead,
               a.last_at >= least(a.next_moment, find_next_moment(n.client_id)) AS is_behind,
               a.granted, a.adjusted, a.spent, a.expired, a.held, a.late_spent, a.laid + a.pinned_spent AS laid,
               a.granted + a.adjusted - a.expired - a.spent - a.held AS available,
               -a.late_spent - a.overdraft AS least_available,
               coalesce(l.granted, 0) AS ledger_granted, coalesce(l.adjusted, 0) AS ledger_adjusted,
               coalesce(l.spent, 0) AS ledger_spent, coalesce(l.expired, 0) AS ledger_expired,
               coalesce(l.late, 0) AS ledger_late, coalesce(l.taken, 0) AS ledger_taken,
               coalesce(v.held, 0) AS holds_held, coalesce(v.pinned, 0) AS holds_pinned,
               coalesce(g.taken, 0) AS grants_taken, coalesce(g.lapsed, 0) AS grants_lapsed,
               coalesce(g.pinned, 0) AS grants_pinned
        FROM ({_CLIENTS}) AS n
        LEFT JOIN account a ON a.client_id = n.client_id
        LEFT JOIN ledger l ON l.client_id = n.client_id
        LEFT JOIN live v ON v.client_id = n.client_id
        LEFT JOIN given g ON g.client_id = n.client_id
        LEFT JOIN ahead h ON h.client_id = n.client_id
    )
    SELECT 'account_missing', client_id, 'has ledger entries or holds, and no account' FROM fact WHERE NOT has_account
    UNION ALL
    SELECT 'account_' || amount, client_id, format('%s is %s, but %s make %s', amount, stands, words, should)
    FROM fact CROSS JOIN LATERAL (VALUES
        ('granted', granted, ledger_granted, 'grants and refunds in the ledger'),
        ('adjusted', adjusted, ledger_adjusted, 'adjustments in the ledger'),
        ('spent', spent, ledger_spent, 'spends in the ledger'),
        ('expired', expired, ledger_expired, 'expiries and voids in the ledger'),
        ('expired', expired, grants_lapsed, 'what lapsed of ended grants'),
        ('late_spent', late_spent, ledger_late, 'late spends in the ledger'),
        ('held', held, holds_held, 'live holds'),
        ('grants_pinned', grants_pinned, holds_pinned, 'live holds that lie on ended grants')
    ) AS side (amount, stands, should, words)
    WHERE has_account AND stands <> should
    UNION ALL
    SELECT 'grants_taken', client_id,
           format('%s was taken from grants, but charges make %s', grants_taken, laid + ledger_taken)
    FROM fact WHERE has_account AND grants_taken <> laid + ledger_taken
    UNION ALL
    SELECT 'account_behind', client_id,
           'was decided about after a moment at which its grants change, as if that had not come'
    FROM fact WHERE has_account AND is_behind
    UNION ALL
    SELECT 'account_ahead', client_id,
           'was counted at a moment to come: see `python -m metering_service mend-clock`'
    FROM fact WHERE has_account AND is_ahead
    UNION ALL
    SELECT 'account_oversold', client_id,
           format('available is %s, and late charges and an overdraft explain no more than %s',
                  available, least_available)
    FROM fact WHERE has_account AND available < least_available
"""
_WRONG_COUNTERS = """
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
    SELECT 'counter_' || amount, c.client_id,
           format('%s from %s has %s %s, but %s make %s', c.name,
                  to_char(c.starts_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                  stands, amount, words, should)
    FROM counter c
    LEFT JOIN charged l ON l.client_id = c.client_id AND l.counter_id = c.counter_id
    LEFT JOIN held h ON h.client_id = c.client_id AND h.counter_id = c.counter_id
    CROSS JOIN LATERAL (VALUES
        ('used', c.used, 'charges', coalesce(
            CASE c.counts WHEN 'events' THEN l.events WHEN 'units' THEN l.units ELSE l.credits END, 0)),
        ('held', c.held, 'live holds', coalesce(
            CASE c.counts WHEN 'events' THEN h.events WHEN 'units' THEN h.units ELSE h.credits END, 0))
    ) AS side (amount, stands, words, should)
    WHERE stands <> should
"""
_WRONG_USAGE = """
    WITH line AS (
        SELECT client_id, event_type, counted_on AS day, count(*) AS charged, sum(units)::bigint AS units,
               -sum(credits)::bigint AS credits
        FROM ledger_entry WHERE kind = 'spend' GROUP BY client_id, event_type, counted_on
    ), side AS (
        SELECT client_id, event_type, day,
               coalesce(u.charged, 0) AS charged, coalesce(u.units, 0) AS units, coalesce(u.credits, 0) AS credits,
               coalesce(l.charged, 0) AS ledger_charged, coalesce(l.units, 0) AS ledger_units,
               coalesce(l.credits, 0) AS ledger_credits
        FROM usage u FULL JOIN line l USING (client_id, event_type, day)
    )
    SELECT 'usage_apart', client_id,
           format('%s on %s stands as (charged, units, credits) (%s, %s, %s), but the ledger makes (%s, %s, %s)',
                  event_type, to_char(day, 'YYYY-MM-DD'), charged, units, credits,
                  ledger_charged, ledger_units, ledger_credits)
    FROM side WHERE (charged, units, credits) <> (ledger_charged, ledger_units, ledger_credits)
"""
_WRONG_REFUNDS = """
    SELECT 'refunded_too_much', g.event_id,
           format('of %s was charged %s, and %s were refunded', g.client_id, coalesce(-l.credits, 0), sum(g.credits))
    FROM credit_grant g
    LEFT JOIN ledger_entry l ON l.client_id = g.client_id AND l.event_id = g.event_id AND l.kind = 'spend'
    WHERE g.kind = 'refund' GROUP BY g.client_id, g.event_id, l.credits
    HAVING l.credits IS NULL OR sum(g.credits) > -l.credits
"""
_REPEATED_PERIODS = """
    SELECT 'granted_twice', client_id,
           format('%s has %s grants for the period from %s', recurring_id, count(*),
                  to_char(effective_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
    FROM credit_grant WHERE recurring_id IS NOT NULL
    GROUP BY client_id, recurring_id, effective_at HAVING count(*) > 1
"""
# Of quotas whose counter is kept: a notice told of more than was ever used.
_WRONG_NOTICES = """
    SELECT 'told_too_much', n.client_id,
           format('%s was told to have %s used, but has %s', c.name, n.data ->> 'used', c.used)
    FROM notice n JOIN counter c ON c.client_id = n.client_id AND c.counter_id::text = n.key
    WHERE n.kind = 'quota' AND (n.data ->> 'used')::bigint > c.used
"""
_CHARGED_AND_HELD = """
    SELECT 'charged_and_held', l.event_id, format('of %s is charged, and a hold of it lives', l.client_id)
    FROM ledger_entry l
    JOIN hold h ON h.client_id = l.client_id AND h.event_id = l.event_id AND h.event_type IS NOT NULL
    WHERE l.kind = 'spend'
"""
# `late_credits` is the part of a charge that was not held: of one without a hold, all of it.
_WRONG_LATE_CREDITS = """
    SELECT 'late_credits', event_id, format('%s of %s credits are said to be late', late, -credits)
    FROM ledger_entry CROSS JOIN LATERAL (SELECT coalesce(late_credits, 0) AS late) AS part
    WHERE kind = 'spend' AND (late < 0 OR late > -credits OR held_at IS NULL AND late <> -credits)
"""
# The unique indexes should leave none of these two.
_CHARGED_TWICE = """
    SELECT 'charged_twice', event_id, format('has %s ledger lines', count(*))
    FROM ledger_entry WHERE kind = 'spend' GROUP BY client_id, event_id HAVING count(*) > 1
"""
_HELD_TWICE = """
    SELECT 'held_twice', event_id, format('has %s live holds', count(*))
    FROM hold WHERE released_at IS NULL GROUP BY client_id, event_id HAVING count(*) > 1
"""
_VIOLATIONS = (
    *(_WRONG_ACCOUNTS, _WRONG_COUNTERS, _WRONG_USAGE, _WRONG_REFUNDS, _REPEATED_PERIODS, _WRONG_NOTICES),
    *(_CHARGED_AND_HELD, _WRONG_LATE_CREDITS, _CHARGED_TWICE, _HELD_TWICE),
)


class AuditStore(Store):
    """Streams findings through one connection that the caller holds, in a snapshot, in constant memory.

    Closes: everything that changes meanwhile. Costs: hash joins over hold and ledger_entry, linear in their rows.
    """

    _COUNT = f"""
        SELECT (SELECT count(*) FROM ({_CLIENTS}) AS client) AS accounts,
               (SELECT count(*) FROM counter) AS counters,
               (SELECT count(DISTINCT (client_id, event_id)) FROM credit_grant WHERE kind = 'refund') AS refunds,
               (SELECT count(*) FROM ledger_entry WHERE kind = 'spend') AS charges,
               (SELECT count(*) FROM ledger_entry WHERE kind = 'spend' AND held_at IS NULL) AS "late charges"
    """

    async def count(self) -> dict[str, int]:
        """Return how much there is to be looked at."""
        return dict(await self._connection.fetchrow(self._COUNT, timeout=READ_TIMEOUT_SECONDS))

    async def stream_violations(self) -> AsyncIterator[Finding]:
        """Yield whatever breaks an invariant."""
        for statement in _VIOLATIONS:
            async for finding in self._stream(statement):
                yield finding

    _DEAD_WEBHOOKS = """
        SELECT 'webhook_dead', w.notice_id::text,
               format('of %s was not taken by %s: %s', n.client_id, w.receiver, w.last_error)
        FROM webhook w JOIN notice n ON n.notice_id = w.notice_id WHERE w.dead_at IS NOT NULL
    """

    def stream_dead_webhooks(self) -> AsyncIterator[Finding]:
        """Yield notices that a receiver did not take, and that were given up."""
        return self._stream(self._DEAD_WEBHOOKS)

    _OLD_HOLDS = """
        SELECT 'hold_unresolved', event_id,
               format('%s credits of %s held for %s s', credits, client_id,
                      to_char(extract(epoch FROM $1::timestamptz - held_at), 'FM999,999,999,990'))
        FROM hold
        WHERE released_at IS NULL AND held_at <= $1::timestamptz - make_interval(secs => $2)
        ORDER BY held_at, hold_id
    """

    def stream_old_holds(self, now: datetime, older_than_seconds: float) -> AsyncIterator[Finding]:
        """Yield holds that nobody has resolved for so long, the oldest first."""
        return self._stream(self._OLD_HOLDS, now, older_than_seconds)

    async def _stream(self, statement: str, *arguments: Any) -> AsyncIterator[Finding]:
        rows = self._connection.cursor(statement, *arguments, prefetch=_PREFETCHED_ROWS, timeout=READ_TIMEOUT_SECONDS)
        async for row in rows:
            yield Finding(*row)
