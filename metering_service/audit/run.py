"""Audit metering: do accounts, holds and ledger tell one story? Read from one moment's snapshot."""

from datetime import datetime

import asyncpg

from metering_service.audit.store import AuditStore
from service_chassis.cli.audit_report import AuditReport
from service_chassis.database.admin_audit import AUDIT_TARGET, AdminAuditStore
from service_chassis.database.pool import open_snapshot


async def audit_ledger(pool: asyncpg.Pool, *, now: datetime, unresolved_after_seconds: float) -> AuditReport:
    """Check every account, charge and hold. Takes time in proportion to them, and constant memory.

    Holds older than `unresolved_after_seconds` are listed as unfinished: their caller has to resolve them. So are
    notices that a receiver did not take.
    """
    report = AuditReport("metering")
    async with open_snapshot(pool) as connection:
        store = AuditStore(connection)
        for what, number in (await store.count()).items():
            if number:
                report.count(what, number)
        async for finding in store.stream_violations():
            report.add_violations([finding])
        async for finding in store.stream_dead_webhooks():
            report.add_unfinished([finding])
        async for finding in store.stream_old_holds(now, unresolved_after_seconds):
            report.add_unfinished([finding])
    return report


async def note_audit(pool: asyncpg.Pool, report: AuditReport, *, now: datetime, actor: str) -> None:
    """Leave a line in the audit trail that there was an audit, and its verdict; where this may be written."""
    try:
        async with pool.acquire() as connection:
            await AdminAuditStore(connection).insert_line(
                *(now, actor, "audit", AUDIT_TARGET),
                isSound=report.is_sound,
                violations=report.violation_count,
                checked=report.checked,
            )
    except (asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientPrivilegeError):
        return
