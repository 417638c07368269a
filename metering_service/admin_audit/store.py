"""Who changed what: the trail of administrative changes in PostgreSQL."""

from datetime import datetime
from typing import Any

import asyncpg
import orjson


class AdminAuditStore:
    """The table `admin_audit`, through one connection that the caller holds, in the transaction of the change.

    Closes: a change without its line, and a line without its change.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    _INSERT_LINE = "INSERT INTO admin_audit (at, actor, action, target, detail) VALUES ($1, $2, $3, $4, $5)"

    async def insert_line(self, now: datetime, actor: str, action: str, target: str, **detail: Any) -> None:
        """Note who did what to whom, with what else is to be known of it.

        `actor` is a service key's, or names the command line.
        """
        await self._connection.execute(self._INSERT_LINE, now, actor, action, target, orjson.dumps(detail).decode())
