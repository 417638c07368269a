"""Refusals in PostgreSQL."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import asyncpg
import orjson

from metering_service.refusals.refusal import RefusalKey, RefusalLine, Refusals
from service_chassis.database.pool import OPERATOR_TIMEOUT_SECONDS, count_changed
from service_chassis.database.store import Store


class RefusalStore(Store):
    """The tables `refusal` and `refusal_count`, through one connection that the caller holds.

    Several processes add to one row. Rows are written in the order of their keys, so that none waits in a circle.
    """

    # What is counted together has the first receipt of all, and the last.
    _MERGE = """
        ON CONFLICT ON CONSTRAINT refusal_pkey DO UPDATE
        SET refused = r.refused + excluded.refused,
            first_at = least(r.first_at, excluded.first_at), last_at = greatest(r.last_at, excluded.last_at),
            first_receipt = CASE WHEN excluded.first_at < r.first_at THEN excluded.first_receipt
                                 ELSE r.first_receipt END,
            last_receipt = CASE WHEN excluded.last_at >= r.last_at THEN excluded.last_receipt ELSE r.last_receipt END
    """
    _ADD = f"""
        WITH item AS MATERIALIZED (
            SELECT * FROM json_to_recordset($1) AS t (
                client_id text, minute timestamptz, event_type text, code text, limit_name text, user_id text,
                refused bigint, first_at timestamptz, last_at timestamptz, first_receipt jsonb, last_receipt jsonb)
        ), kept AS (
            INSERT INTO refusal AS r (client_id, minute, event_type, code, limit_name, user_id, refused, first_at,
                                      last_at, first_receipt, last_receipt)
            SELECT * FROM item ORDER BY client_id COLLATE "C", minute, event_type, code, limit_name, user_id
            {_MERGE}
        )
        INSERT INTO refusal_count AS c (client_id, day, event_type, code, refused, last_at)
        SELECT client_id, (minute AT TIME ZONE 'UTC')::date AS day, event_type, code, sum(refused), max(last_at)
        FROM item GROUP BY client_id, day, event_type, code
        ORDER BY client_id COLLATE "C", day, event_type, code
        ON CONFLICT ON CONSTRAINT refusal_count_pkey DO UPDATE
        SET refused = c.refused + excluded.refused, last_at = greatest(c.last_at, excluded.last_at)
    """

    async def add(self, refusals: Mapping[RefusalKey, Refusals]) -> None:
        """Add what was refused to what is kept, and to the sums of its days."""
        rows = []
        for key, each in refusals.items():
            receipt = each.first_receipt.as_document()
            is_one = each.last_receipt is each.first_receipt
            rows.append(
                {
                    "client_id": key.client_id,
                    "minute": key.minute,
                    "event_type": key.event_type,
                    "code": key.code,
                    "limit_name": key.limit,
                    "user_id": key.user_id,
                    "refused": each.count,
                    "first_at": each.first_at,
                    "last_at": each.last_at,
                    "first_receipt": receipt,
                    "last_receipt": receipt if is_one else each.last_receipt.as_document(),
                }
            )
        await self._connection.execute(self._ADD, orjson.dumps(rows).decode())

    _LINE = """
        SELECT minute, event_type, code, limit_name AS limit, user_id, refused AS count, first_at, last_at,
               first_receipt, last_receipt
        FROM refusal
    """
    _FETCH_LINE = f"""
        {_LINE}
        WHERE client_id = $1 AND minute = $2 AND event_type = $3 AND code = $4 AND limit_name = $5 AND user_id = $6
    """
    _LIST_LINES = f"""
        {_LINE}
        WHERE client_id = $1 AND minute >= $2 AND minute < $3
          AND (minute, event_type, code, limit_name, user_id) < ($4, $5, $6, $7, $8)
        ORDER BY minute DESC, event_type DESC, code DESC, limit_name DESC, user_id DESC
        LIMIT $9
    """

    async def fetch_line(self, client_id: str, key: tuple[datetime, str, str, str, str]) -> RefusalLine | None:
        """Return the refusals of a client at the position `key` of the list, None where none are kept there."""
        row = await self._connection.fetchrow(self._FETCH_LINE, client_id, *key)
        return row and _read_line(row)

    async def list_lines(
        self,
        client_id: str,
        since: datetime,
        until: datetime,
        before: tuple[datetime, str, str, str, str],
        limit: int,
    ) -> list[RefusalLine]:
        """Return a client's refusals, newest first, of minutes from `since` up to `until`.

        From before `before` on, the position of a line in the list.
        """
        rows = await self._connection.fetch(self._LIST_LINES, client_id, since, until, *before, limit)
        return [_read_line(row) for row in rows]

    _DELETE_OLD = """
        DELETE FROM refusal WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM refusal WHERE minute < utc_now() - $1::interval LIMIT $2))
    """

    async def delete_old(self, age: timedelta, limit: int) -> int:
        """Forget refusals that are older than `age`, up to `limit` rows; return how many."""
        return count_changed(
            await self._connection.execute(self._DELETE_OLD, age, limit, timeout=OPERATOR_TIMEOUT_SECONDS)
        )

    _ERASE_USER = f"""
        WITH gone AS (DELETE FROM refusal WHERE client_id = $1 AND user_id = $2 RETURNING *)
        INSERT INTO refusal AS r (client_id, minute, event_type, code, limit_name, user_id, refused, first_at,
                                  last_at, first_receipt, last_receipt)
        SELECT client_id, minute, event_type, code, limit_name, '', refused, first_at, last_at, first_receipt,
               last_receipt
        FROM gone
        {_MERGE}
    """

    async def erase_user(self, client_id: str, user_id: str) -> int:
        """Count a user's refusals as nobody's; return of how many lines."""
        return count_changed(
            await self._connection.execute(self._ERASE_USER, client_id, user_id, timeout=OPERATOR_TIMEOUT_SECONDS)
        )


def _read_line(row: asyncpg.Record) -> RefusalLine:
    receipts = {name: orjson.loads(row[name]) for name in ("first_receipt", "last_receipt")}
    return RefusalLine(**{**row, **receipts})
