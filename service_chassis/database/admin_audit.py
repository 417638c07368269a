"""Who changed what: the trail of administrative changes, in the table `admin_audit` of a service's own database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from service_chassis.database.store import Store
from service_chassis.http.cursor import cut_page

LAST_LINE = 2**63 - 1
"""Above every line's number: where a list that begins with the newest begins."""

AUDIT_TARGET = "ledger"
"""What the line that an audit leaves of itself is about."""


@dataclass(frozen=True, slots=True)
class AdminAuditLine:
    """A change: when, by whom (the name of a key, or the command line), what, to which target."""

    audit_id: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, Any]


class AdminAuditStore(Store):
    """The table `admin_audit`, through one connection that the caller holds, in the transaction of the change.

    Closes: a change without its line, and a line without its change. Leaves open: a reader that goes on from the
    newest line that it has may miss one whose transaction began before and ended later.
    """

    _INSERT_LINE = "INSERT INTO admin_audit (at, actor, action, target, detail) VALUES ($1, $2, $3, $4, $5)"

    async def insert_line(self, now: datetime, actor: str, action: str, target: str, **detail: Any) -> None:
        """Note who did what to whom, with what else is to be known of it.

        `actor` is a key's name, or names the command line.
        """
        document = orjson.dumps(detail, option=orjson.OPT_UTC_Z).decode()
        await self._connection.execute(self._INSERT_LINE, now, actor, action, target, document)

    _LIST_ALL = """
        SELECT audit_id, at, actor, action, target, detail FROM admin_audit
        WHERE audit_id < $1 ORDER BY audit_id DESC LIMIT $2
    """
    _LIST_OF_TARGET = """
        SELECT audit_id, at, actor, action, target, detail FROM admin_audit
        WHERE audit_id < $1 AND target = $3 ORDER BY audit_id DESC LIMIT $2
    """

    async def list_lines(self, target: str | None, before: int, limit: int) -> list[AdminAuditLine]:
        """Return the last changes below the line `before`, of one target or of all, newest first."""
        if target is None:
            rows = await self._connection.fetch(self._LIST_ALL, before, limit)
        else:
            rows = await self._connection.fetch(self._LIST_OF_TARGET, before, limit, target)
        return [AdminAuditLine(**{**row, "detail": orjson.loads(row["detail"])}) for row in rows]


async def list_changes(
    pool: asyncpg.Pool, target: str | None, before: int, limit: int
) -> tuple[Sequence[AdminAuditLine], AdminAuditLine | None]:
    """Return a page of changes below the line `before`, newest first; its last one if more follow."""
    return cut_page(await AdminAuditStore(pool).list_lines(target, before, limit + 1), limit)
