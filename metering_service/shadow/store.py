"""Shadow policies in PostgreSQL: their counters, and what they would have refused."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import orjson

from metering_service.shadow.verdict import ShadowRefusals
from service_chassis.database.pool import OPERATOR_TIMEOUT_SECONDS, count_changed
from service_chassis.database.store import Store


class ShadowStore(Store):
    """The tables `shadow_counter` and `shadow_refusal`, through one connection that the caller holds.

    Two processes add to one row; each decides by what it read before, so that a few of many events at once may be
    judged by a number that is a little old. No money hangs on it.
    """

    _LIST_AVAILABLE = "SELECT client_id, available(account) FROM account WHERE client_id = ANY ($1)"

    async def list_available(self, client_ids: Sequence[str]) -> dict[str, int]:
        """Return the credits that clients have available."""
        return dict(await self._connection.fetch(self._LIST_AVAILABLE, client_ids))

    _LIST_COUNTERS = """
        SELECT asked.k, p.starts_at, coalesce(c.used, 0)
        FROM json_to_recordset($1::json) AS asked (
            k integer, client_id text, policy_id text, name text, rule text, period text, anchor text, user_id text)
        LEFT JOIN LATERAL find_assignment(asked.client_id, utc_now()) AS s ON asked.anchor = 'assigned'
        CROSS JOIN LATERAL find_period(asked.period, s.anchored_at, utc_now()) AS p
        LEFT JOIN shadow_counter c ON (c.client_id, c.policy_id, c.name, c.rule, c.user_id, c.starts_at)
            = (asked.client_id, asked.policy_id, asked.name, asked.rule, asked.user_id, p.starts_at)
        ORDER BY asked.k
    """

    async def list_counters(self, asked: Sequence[Mapping[str, Any]]) -> list[tuple[datetime, int]]:
        """Return, in order, from when each counter's present period is, and what counts in it."""
        rows = await self._connection.fetch(self._LIST_COUNTERS, orjson.dumps(asked).decode())
        return [(starts_at, used) for _, starts_at, used in rows]

    _COUNT = """
        INSERT INTO shadow_counter AS c (client_id, policy_id, name, rule, user_id, starts_at, used)
        SELECT * FROM json_to_recordset($1::json) AS item (
            client_id text, policy_id text, name text, rule text, user_id text, starts_at timestamptz, used bigint)
        ORDER BY client_id COLLATE "C", policy_id, name, rule, user_id, starts_at
        ON CONFLICT ON CONSTRAINT shadow_counter_pkey DO UPDATE SET used = c.used + excluded.used
    """
    _ADD = """
        INSERT INTO shadow_refusal AS r (policy_id, day, client_id, code, limit_name, refused, credits)
        SELECT * FROM json_to_recordset($1::json) AS item (
            policy_id text, day date, client_id text, code text, limit_name text, refused bigint, credits bigint)
        ORDER BY policy_id COLLATE "C", day, client_id, code, limit_name
        ON CONFLICT ON CONSTRAINT shadow_refusal_pkey DO UPDATE
        SET refused = r.refused + excluded.refused, credits = r.credits + excluded.credits
    """

    async def count(self, counted: Sequence[Mapping[str, Any]]) -> None:
        """Add to counters, each once."""
        await self._connection.execute(self._COUNT, orjson.dumps(counted).decode())

    async def add(self, refused: Sequence[Mapping[str, Any]]) -> None:
        """Add what would have been refused to what is kept, each reason once."""
        await self._connection.execute(self._ADD, orjson.dumps(refused).decode())

    _LIST_REFUSALS = """
        SELECT day, client_id, code, limit_name, refused, credits FROM shadow_refusal
        WHERE policy_id = $1 AND day >= $2 AND day < $3 AND (day, client_id, code, limit_name) > ($4, $5, $6, $7)
        ORDER BY day, client_id, code, limit_name
        LIMIT $8
    """

    async def list_refusals(
        self, policy_id: str, from_day: date, to_day: date, after: tuple[date, str, str, str], limit: int
    ) -> list[ShadowRefusals]:
        """Return what a policy would have refused on days from `from_day` up to `to_day`, from after `after` on."""
        rows = await self._connection.fetch(self._LIST_REFUSALS, policy_id, from_day, to_day, *after, limit)
        return [ShadowRefusals(*row) for row in rows]

    _DELETE_OLD = (
        """
        DELETE FROM shadow_refusal WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM shadow_refusal WHERE day < (utc_now() - $1::interval)::date LIMIT $2))
        """,
        """
        DELETE FROM shadow_counter WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM shadow_counter WHERE starts_at < utc_now() - $1::interval - interval '1 year' LIMIT $2))
        """,
    )

    async def delete_old(self, age: timedelta, limit: int) -> int:
        """Forget what is older than `age`, and counters of periods that are over, up to `limit` of each; return how
        many rows.
        """
        return sum(
            [
                count_changed(await self._connection.execute(statement, age, limit, timeout=OPERATOR_TIMEOUT_SECONDS))
                for statement in self._DELETE_OLD
            ]
        )

    # Not counted on as nobody's: events without a user would be taken for more than they are.
    _ERASE_USER = "DELETE FROM shadow_counter WHERE client_id = $1 AND user_id = $2"

    async def erase_user(self, client_id: str, user_id: str) -> int:
        """Forget what counts of a user, who counts anew; return how many counters there were."""
        return count_changed(
            await self._connection.execute(self._ERASE_USER, client_id, user_id, timeout=OPERATOR_TIMEOUT_SECONDS)
        )
