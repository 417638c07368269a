"""Who changed what: the trail of administrative changes in PostgreSQL."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson


@dataclass(frozen=True, slots=True)
class AdminAuditLine:
    """A change: when, by whom (the name of a service key, or the command line), what, to which client or policy."""

    audit_id: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, Any]


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

    _LIST_LINES = """
        SELECT audit_id, at, actor, action, target, detail FROM admin_audit
        WHERE ($1::text IS NULL OR target = $1) ORDER BY audit_id DESC LIMIT $2
    """

    async def list_lines(self, target: str | None, limit: int) -> list[AdminAuditLine]:
        """Return the last changes, of one client or policy or of all, newest first."""
        rows = await self._connection.fetch(self._LIST_LINES, target, limit)
        return [AdminAuditLine(**{**row, "detail": orjson.loads(row["detail"])}) for row in rows]
