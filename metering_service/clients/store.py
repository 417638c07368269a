"""Clients side by side in PostgreSQL, from sums that are kept where charges and refusals are written."""

from collections.abc import Sequence
from datetime import date

from metering_service.clients.client import PACE_DAYS, ClientLine, Order
from service_chassis.database.store import Store


class ClientStore(Store):
    """The tables `account`, `usage` and `refusal_count` as they are looked at side by side, through one connection
    that the caller holds. Writes nothing.

    No statement reads the ledger, or the usage of other days than it is about.
    """

    # By no index of its own: any part of an id is found by walking through those that are there, 30 ms for 100,000
    # ids in account_pkey. An index of trigrams would want an extension and still walk for what has two characters.
    _HAS_PART = """($1 = '' OR strpos(lower(client_id), lower($1 COLLATE "C")) > 0)"""
    _BY_NAME = f"""
        SELECT client_id, 0::bigint FROM account WHERE {_HAS_PART} AND client_id > $2 ORDER BY client_id LIMIT $3
    """
    # By the indexes usage_by_day and refusal_count_by_day.
    _BY_SUM = f"""
        SELECT client_id, sum({{column}})::bigint AS value FROM {{table}} WHERE day >= $2 AND {_HAS_PART}
        GROUP BY client_id HAVING sum({{column}}) < $4 OR (sum({{column}}) = $4 AND client_id > $3)
        ORDER BY value DESC, client_id LIMIT $5
    """
    _BY_END = f"""
        WITH spent AS (
            SELECT client_id, sum(credits) AS credits FROM usage WHERE day >= $2 AND {_HAS_PART}
            GROUP BY client_id HAVING sum(credits) > 0
        ), lasting AS (
            SELECT spent.client_id, (greatest(a.available, 0) * {PACE_DAYS} / spent.credits)::bigint AS value
            FROM spent CROSS JOIN LATERAL (
                SELECT available(account) FROM account WHERE client_id = spent.client_id OFFSET 0) AS a
        )
        SELECT client_id, value FROM lasting WHERE (value, client_id) > ($4, $3) ORDER BY value, client_id LIMIT $5
    """
    _BY_VALUE: dict[Order, str] = {  # noqa: RUF012 - never changed
        "spend": _BY_SUM.format(table="usage", column="credits"),
        "refusals": _BY_SUM.format(table="refusal_count", column="refused"),
        "ending": _BY_END,
    }

    async def list_ordered(
        self, order: Order, part: str, since: date, after: tuple[int, str], limit: int
    ) -> list[tuple[str, int]]:
        """Return clients whose id has `part` in it, each with what they are ordered by, from after `after` on.

        By what they spent or how often they were refused since a day: the most first, and those that did either. By
        how many days their balance lasts: the fewest first, and those that spend.
        """
        value, client_id = after
        if order == "name":
            rows = await self._connection.fetch(self._BY_NAME, part, client_id, limit)
        else:
            arguments = (part, since, client_id, value, limit)
            rows = await self._connection.fetch(self._BY_VALUE[order], *arguments)
        return [tuple(row) for row in rows]

    _LIST_LINES = """
        SELECT a.client_id, a.available, a.held, a.last_at, u.charged, u.credits, u.pace, r.refused
        FROM unnest($1::text[]) WITH ORDINALITY AS asked (client_id, number)
        CROSS JOIN LATERAL (
            SELECT client_id, available(account), held, last_at FROM account
            WHERE client_id = asked.client_id OFFSET 0) AS a
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(charged), 0)::bigint AS charged, coalesce(sum(credits), 0)::bigint AS credits,
                   coalesce(sum(credits) FILTER (WHERE day >= $3), 0)::bigint AS pace
            FROM usage WHERE client_id = asked.client_id AND day >= $2 OFFSET 0) AS u
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(refused), 0)::bigint AS refused
            FROM refusal_count WHERE client_id = asked.client_id AND day >= $2 OFFSET 0) AS r
        ORDER BY asked.number
    """

    async def list_lines(self, client_ids: Sequence[str], since: date, pace_since: date) -> list[ClientLine]:
        """Return what is seen of each client, in their order; one without an account is left out."""
        rows = await self._connection.fetch(self._LIST_LINES, client_ids, since, pace_since)
        return [ClientLine(*row) for row in rows]
