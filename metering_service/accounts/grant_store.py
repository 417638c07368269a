"""Grants in PostgreSQL: what a client was given, and what is left of it."""

from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from metering_service.accounts.grant import Balance, Grant, RecurringGrant, RecurringTerms
from service_chassis.database.store import Store

_COLUMNS = """kind, grant_id, event_id, credits, effective_at, expires_at, priority, source, note, created_at, state,
    pinned, lapsed, number"""


class Expiring(NamedTuple):
    """A live grant that expires at `expires_at`, by its number among its client's."""

    expires_at: datetime
    client_id: str
    number: int


FIRST_EXPIRING = Expiring(datetime(2000, 1, 1, tzinfo=UTC), "", 0)
"""Where a list of them begins."""


class GrantStore(Store):
    """The tables `credit_grant` and `recurring_grant`, through one connection that the caller holds.

    Whoever writes holds the account's lock, in a transaction: grants and account change together, and no decision is
    made by half of a change. By themselves grants begin and end in `move_account` (sql/), under the same lock.
    """

    _LAY_SPENT = "SELECT lay_spent($1)"

    async def lay_spent(self, client_id: str) -> None:
        """Take what was spent so far from the grants of a locked account, before they change."""
        await self._connection.execute(self._LAY_SPENT, client_id)

    _INSERT = f"""
        INSERT INTO credit_grant (client_id, kind, grant_id, event_id, credits, effective_at, expires_at, priority,
                                  source, note, actor, created_at, state, remaining)
        VALUES ($1, $2, $3, $4, $5, coalesce($6::timestamptz, $12), $7, $8, $9, $10, $11, $12, 'booked', $5)
        RETURNING {_COLUMNS}, remaining
    """
    _BEGIN = "SELECT begin_grants($1, $2, $2)"

    async def insert(
        self,
        client_id: str,
        kind: str,
        grant_id: str,
        credits: int,
        *,
        priority: int,
        event_id: str | None = None,
        effective_at: datetime | None = None,
        expires_at: datetime | None = None,
        source: str | None = None,
        note: str | None,
        actor: str,
        now: datetime,
    ) -> Grant:
        """Give a locked account credits under an id that it has none of, from `effective_at` on, None for now."""
        row = await self._connection.fetchrow(
            self._INSERT,
            *(client_id, kind, grant_id, event_id, credits, effective_at, expires_at, priority, source, note),
            *(actor, now),
        )
        await self._connection.execute(self._BEGIN, client_id, now)
        await self._schedule(client_id)
        return Grant(*row)

    _SCHEDULE = "UPDATE account SET next_moment = find_next_moment($1) WHERE client_id = $1"

    async def _schedule(self, client_id: str) -> None:
        """Note when the grants of a locked account change next."""
        await self._connection.execute(self._SCHEDULE, client_id)

    _FETCH = f"""
        SELECT {_COLUMNS}, remaining FROM credit_grant WHERE client_id = $1 AND kind = $2 AND grant_id = $3
    """

    async def fetch(self, client_id: str, kind: str, grant_id: str) -> Grant | None:
        """Return a grant, `left` as of the account's last moment; None where there is none."""
        row = await self._connection.fetchrow(self._FETCH, client_id, kind, grant_id)
        return row and replace(Grant(*row), was_there=True)

    _CANCEL = "UPDATE credit_grant SET state = 'cancelled', remaining = 0 WHERE client_id = $1 AND number = $2"
    _VOID = "SELECT end_grants($1, ARRAY[$2::bigint], 'void', $3, $3, $4, $5)"

    async def void(self, client_id: str, grant: Grant, *, reason: str, actor: str, now: datetime) -> None:
        """End a booked or live grant of a locked account, of which all that was spent is laid."""
        if grant.state == "booked":
            await self._connection.execute(self._CANCEL, client_id, grant.number)
        else:
            await self._connection.execute(self._VOID, client_id, grant.number, now, actor, reason)
        await self._schedule(client_id)

    _DRAW = "SELECT draw_credits($1, $2)"

    async def draw(self, client_id: str, credits: int) -> None:
        """Take credits from the grants of a locked account, of which all that was spent is laid."""
        await self._connection.execute(self._DRAW, client_id, credits)

    _SUM_REFUNDS = """
        SELECT coalesce(sum(credits), 0)::bigint FROM credit_grant
        WHERE client_id = $1 AND event_id = $2 AND kind = 'refund'
    """

    async def sum_refunds(self, client_id: str, event_id: str) -> int:
        """Return how many credits of an event's charge were given back."""
        refunded: int = await self._connection.fetchval(self._SUM_REFUNDS, client_id, event_id)
        return refunded

    _FETCH_BALANCE = """
        SELECT client_id, granted, adjusted, spent, expired, held, available(account) FROM account
        WHERE client_id = $1
    """
    # What was spent since the last moment, and what is held, is laid on the grants in their order.
    _LIST_OPEN = f"""
        WITH taken AS (
            SELECT spent - pinned_spent - laid + held
                   - coalesce((SELECT sum(credits) FROM credit_pin WHERE client_id = $1 AND paid IS NULL), 0)
                   AS credits
            FROM account WHERE client_id = $1
        ), place AS (
            SELECT *, sum(remaining) FILTER (WHERE state = 'live') OVER in_order AS upto
            FROM credit_grant WHERE client_id = $1 AND state IN ('booked', 'live')
            WINDOW in_order AS (ORDER BY priority, expires_at, effective_at, number)
        )
        SELECT {_COLUMNS}, CASE state WHEN 'booked' THEN remaining
               ELSE least(remaining, greatest(upto - (SELECT credits FROM taken), 0))::bigint END
        FROM place ORDER BY priority, expires_at, effective_at, number
    """

    async def fetch_balance(self, client_id: str) -> Balance | None:
        """Return what a client has, None for one never heard of; in a snapshot, to be of one moment."""
        row = await self._connection.fetchrow(self._FETCH_BALANCE, client_id)
        if row is None:
            return None
        grants = await self._connection.fetch(self._LIST_OPEN, client_id)
        return Balance(*row, *[[Grant(*each) for each in grants]])

    # A charge's place among all credits spent; what was drawn for them, and what would be drawn now for the others.
    _LIST_PAYERS = """
        WITH charge AS (
            SELECT entry_id, hold_id, -credits - coalesce(pinned_credits, 0) AS credits FROM ledger_entry
            WHERE client_id = $1 AND event_id = $2 AND kind = 'spend'
        ), known AS (
            SELECT d.entry_id, d.entry_position FROM charge
            JOIN credit_draw d ON d.client_id = $1 AND d.entry_id < charge.entry_id ORDER BY d.entry_id DESC LIMIT 1
        ), place AS (
            SELECT coalesce(known.entry_position, 0) + coalesce(since.credits, 0) AS starts,
                   coalesce(known.entry_position, 0) + coalesce(since.credits, 0) + charge.credits AS ends
            FROM charge LEFT JOIN known ON true
            CROSS JOIN LATERAL (
                SELECT sum(-l.credits - coalesce(l.pinned_credits, 0)) AS credits FROM ledger_entry l
                WHERE l.client_id = $1 AND l.kind = 'spend' AND l.entry_id < charge.entry_id
                  AND l.entry_id > coalesce(known.entry_id, 0)) AS since
        ), drawn AS (
            SELECT number, upto - credits AS starts, upto AS ends FROM credit_draw
            WHERE client_id = $1 AND upto > (SELECT starts FROM place)
            UNION ALL
            SELECT number, laid + sum(remaining) OVER in_order - remaining, laid + sum(remaining) OVER in_order
            FROM credit_grant JOIN account USING (client_id) WHERE client_id = $1 AND state = 'live'
            WINDOW in_order AS (ORDER BY priority, expires_at, effective_at, number)
        ), payment AS (
            SELECT number, least(drawn.ends, place.ends) - greatest(drawn.starts, place.starts) AS credits
            FROM drawn JOIN place ON drawn.starts < place.ends AND place.starts < drawn.ends
            UNION ALL
            SELECT number, paid FROM credit_pin JOIN charge USING (hold_id) WHERE client_id = $1 AND paid > 0
        )
        SELECT g.kind, g.grant_id, sum(p.credits)::bigint
        FROM payment p JOIN credit_grant g ON g.client_id = $1 AND g.number = p.number
        GROUP BY g.number, g.kind, g.grant_id ORDER BY min(g.number)
    """

    async def list_payers(self, client_id: str, event_id: str) -> list[tuple[str, str, int]]:
        """Return which grants (kind, id) paid how much of an event's charge; fewer credits where none covers it."""
        return [tuple(row) for row in await self._connection.fetch(self._LIST_PAYERS, client_id, event_id)]

    _IS_DUE = "SELECT next_moment <= greatest(utc_now(), last_at) FROM account WHERE client_id = $1"
    _LIST_DUE = """
        SELECT client_id FROM account WHERE next_moment <= utc_now() AND client_id > $1 ORDER BY client_id LIMIT $2
    """

    async def is_due(self, client_id: str) -> bool:
        """Return whether a moment of the account has come that it was not moved on to."""
        return bool(await self._connection.fetchval(self._IS_DUE, client_id))

    async def list_due(self, after: str, limit: int) -> list[str]:
        """Return clients whose account is to be moved on, by id, from after `after` on."""
        return [client_id for (client_id,) in await self._connection.fetch(self._LIST_DUE, after, limit)]

    # By the index credit_grant_by_expiry.
    _LIST_EXPIRING = """
        SELECT expires_at, client_id, number FROM credit_grant g
        WHERE state = 'live' AND recurring_id IS NULL AND expires_at > utc_now()
          AND expires_at <= utc_now() + $1::interval AND expires_at <= utc_now() + (expires_at - effective_at) / 4
          AND (expires_at, client_id, number) > ($2, $3, $4)
          AND NOT EXISTS (SELECT FROM notice n WHERE n.client_id = g.client_id AND n.kind = 'expiry'
                          AND n.key = g.number::text AND NOT n.is_over)
        ORDER BY expires_at, client_id, number LIMIT $5
    """

    async def list_expiring(self, within: timedelta, after: Expiring, limit: int) -> list[Expiring]:
        """Return live grants that expire within a time, and in the last quarter of their life, and are not told of.

        By that moment, from after `after` on. Grants that come again are none of them.
        """
        rows = await self._connection.fetch(self._LIST_EXPIRING, within, *after, limit)
        return [Expiring(*row) for row in rows]

    _TERMS = "credits, every, starts_at, ends_at, expires_with_period, rollover_max, priority"
    _LIST_RECURRING = f"""
        SELECT recurring_id, CASE WHEN ends_at IS NULL OR next_at < ends_at THEN next_at END, {_TERMS}
        FROM recurring_grant WHERE client_id = $1 ORDER BY recurring_id
    """
    # The first period is the one under way, and a change counts from the next one on, once there was a first.
    _PUT_RECURRING = f"""
        INSERT INTO recurring_grant AS r (client_id, recurring_id, {_TERMS}, actor, next_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
                (find_period($4, $5, greatest($5::timestamptz, $11::timestamptz))).starts_at)
        ON CONFLICT (client_id, recurring_id) DO UPDATE
        SET credits = excluded.credits, every = excluded.every, starts_at = excluded.starts_at,
            ends_at = excluded.ends_at, expires_with_period = excluded.expires_with_period,
            rollover_max = excluded.rollover_max, priority = excluded.priority, actor = excluded.actor,
            next_at = CASE
                WHEN NOT EXISTS (
                    SELECT FROM credit_grant g
                    WHERE g.client_id = r.client_id AND g.recurring_id = r.recurring_id) THEN excluded.next_at
                WHEN r.next_at > $11 AND (r.every, r.starts_at) = (excluded.every, excluded.starts_at) THEN r.next_at
                WHEN excluded.starts_at > $11 THEN excluded.starts_at
                ELSE (find_period(excluded.every, excluded.starts_at, $11)).ends_at END
    """

    async def put_recurring(
        self, client_id: str, recurring_id: str, terms: RecurringTerms, *, actor: str, now: datetime
    ) -> None:
        """Set what a locked account, which was moved on to `now`, is granted again and again."""
        await self._connection.execute(self._PUT_RECURRING, client_id, recurring_id, *astuple(terms), actor, now)
        await self._schedule(client_id)

    async def list_recurring(self, client_id: str) -> list[RecurringGrant]:
        """Return a client's recurring grants, by id."""
        return [
            RecurringGrant(recurring_id, RecurringTerms(*terms), next_at)
            for recurring_id, next_at, *terms in await self._connection.fetch(self._LIST_RECURRING, client_id)
        ]
