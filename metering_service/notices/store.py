"""Notices in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from service_chassis.database.pool import OPERATOR_TIMEOUT_SECONDS, count_changed
from service_chassis.database.store import Store

_ONCE = "ON CONFLICT (client_id, kind, key, threshold) WHERE NOT is_over DO NOTHING"


class NoticeStore(Store):
    """The table `notice`, through one connection that the caller holds.

    Closes: the same told twice in its period, by however many processes at once (notice_once). Thresholds are noted
    by `note_thresholds` (sql/), in the transaction of the charge that reached them.
    """

    # In the order of the key, so that processes which write the same do not wait in a circle.
    _INSERT = f"""
        INSERT INTO notice (client_id, kind, key, threshold, at, ends_at, data)
        SELECT client_id, $2, key, 0, coalesce(at, utc_now()), ends_at, data
        FROM json_to_recordset($1) AS n (client_id text, key text, at timestamptz, ends_at timestamptz, data jsonb)
        ORDER BY client_id COLLATE "C", key COLLATE "C" {_ONCE}
    """

    async def insert_refused(self, refused: Sequence[dict[str, Any]]) -> None:
        """Note refusals, each once until its `ends_at`: client_id, key, at, ends_at, data."""
        await self._connection.execute(self._INSERT, orjson.dumps(refused).decode(), "refusal")

    async def insert_expiring(self, expires_at: datetime, client_id: str, number: int, data: dict[str, Any]) -> None:
        """Note that the grant of this number expires soon, once."""
        grant = {"client_id": client_id, "key": str(number), "ends_at": expires_at, "data": data}
        await self._connection.execute(self._INSERT, orjson.dumps([grant]).decode(), "expiry")

    _DELETE_OLD = """
        DELETE FROM notice WHERE notice_id = ANY (ARRAY(
            SELECT notice_id FROM notice WHERE at < utc_now() - $1::interval AND ends_at < utc_now()
            ORDER BY at, notice_id LIMIT $2))
    """

    async def delete_old(self, age: timedelta, limit: int) -> int:
        """Forget up to `limit` notices older than `age` that cannot come again; return how many.

        What still keeps the same from being told twice stays: of a period that runs, of a balance that has not risen.
        """
        return count_changed(
            await self._connection.execute(self._DELETE_OLD, age, limit, timeout=OPERATOR_TIMEOUT_SECONDS)
        )

    _ERASE_USER = "UPDATE notice SET user_id = '' WHERE client_id = $1 AND user_id = $2"

    async def erase_user(self, client_id: str, user_id: str) -> int:
        """Take a user's id out of notices; return of how many. Those that wait are sent without it."""
        return count_changed(
            await self._connection.execute(self._ERASE_USER, client_id, user_id, timeout=OPERATOR_TIMEOUT_SECONDS)
        )
