"""Usage in PostgreSQL, as it is read."""

from datetime import date

import orjson

from metering_service.usage.usage import GroupBy, UsageSum, Window
from service_chassis.database.store import Store

READ_TIMEOUT_SECONDS = 30.0


class UsageStore(Store):
    """The tables `usage` and `refusal_count`, and the ledger for what is asked of users, through one connection that
    the caller holds.

    `usage` is written by `settle_events`, in the transaction of each charge, so that it equals the ledger;
    `refusal_count` with the refusals, up to a second after each (refusals/store.py).
    """

    _LIST_BY_TYPE = """
        WITH charged AS (
            SELECT date_trunc($4, day)::date AS during, event_type, sum(charged)::bigint AS charged,
                   sum(units)::bigint AS units, sum(credits)::bigint AS credits, sum(overage)::bigint AS overage,
                   max(last_at) AS last_at
            FROM usage WHERE client_id = $1 AND day >= $2 AND day < $3
            GROUP BY during, event_type
        ), by_code AS (
            SELECT date_trunc($4, day)::date AS during, event_type, code, sum(refused)::bigint AS refused,
                   max(last_at) AS last_at
            FROM refusal_count WHERE client_id = $1 AND day >= $2 AND day < $3
            GROUP BY during, event_type, code
        ), refused AS (
            SELECT during, event_type, json_object_agg(code, refused ORDER BY code) AS refused,
                   max(last_at) AS last_at
            FROM by_code GROUP BY during, event_type
        )
        SELECT during, event_type, coalesce(charged, 0), coalesce(units, 0), coalesce(credits, 0),
               coalesce(overage, 0), coalesce(refused, '{}'), greatest(c.last_at, r.last_at)
        FROM charged c FULL JOIN refused r USING (during, event_type)
        ORDER BY during, event_type
    """
    # By the index ledger_entry_by_user, but for the events of nobody.
    _LIST_BY_USER = """
        SELECT date_trunc($4, counted_on)::date AS during, nullif(user_id, '') AS user_id, count(*),
               sum(units)::bigint, -sum(credits)::bigint, NULL::bigint, NULL::json, max(at)
        FROM ledger_entry WHERE client_id = $1 AND kind = 'spend' AND counted_on >= $2 AND counted_on < $3
        GROUP BY during, 2 ORDER BY during, 2
    """

    async def list_sums(
        self, client_id: str, from_day: date, to_day: date, window: Window, group_by: GroupBy
    ) -> list[UsageSum]:
        """Return the sums of what a client was charged and refused, of days from `from_day` up to `to_day`."""
        statement = self._LIST_BY_USER if group_by == "user" else self._LIST_BY_TYPE
        rows = await self._connection.fetch(
            statement, client_id, from_day, to_day, window, timeout=READ_TIMEOUT_SECONDS
        )
        return [
            UsageSum(day, group, charged, units, credits, overage, refused and orjson.loads(refused), last_at)
            for day, group, charged, units, credits, overage, refused, last_at in rows
        ]

    _IS_FINAL = """
        SELECT (utc_now() AT TIME ZONE 'UTC')::date >= $3 AND NOT EXISTS (
            SELECT FROM hold WHERE client_id = $1 AND released_at IS NULL AND counted_on >= $2 AND counted_on < $3)
    """

    async def is_final(self, client_id: str, from_day: date, to_day: date) -> bool:
        """Return whether the days from `from_day` up to `to_day` are over and nothing of them is held any more."""
        return bool(await self._connection.fetchval(self._IS_FINAL, client_id, from_day, to_day))
