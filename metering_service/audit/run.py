"""Audit metering: do accounts, holds and ledger tell one story? Read from one moment's snapshot."""

from datetime import datetime, timedelta

import asyncpg

from metering_service.audit.checks import (
    check_account,
    check_charge,
    check_counter,
    check_period,
    check_refund,
    check_repeated,
    check_usage,
    describe_old_hold,
)
from metering_service.audit.notice_checks import check_notice, describe_dead_webhook
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
        async for account in store.stream_accounts():
            report.count("accounts")
            report.add_violations(check_account(account))
        async for counter in store.stream_counters():
            report.count("counters")
            report.add_violations(check_counter(counter))
        async for usage in store.stream_usage():
            report.add_violations(check_usage(usage))
        async for refund in store.stream_refunds():
            report.count("refunds")
            report.add_violations(check_refund(refund))
        async for period in store.stream_repeated_periods():
            report.add_violations(check_period(period))
        async for notice in store.stream_notices():
            report.add_violations(check_notice(notice))
        async for webhook in store.stream_dead_webhooks():
            report.add_unfinished([describe_dead_webhook(webhook)])
        async for charge in store.stream_charges():
            report.count("charges")
            if charge.is_late:
                report.count("late charges")
            report.add_violations(check_charge(charge))
        async for event in store.stream_repeated():
            report.add_violations(check_repeated(event))
        async for hold in store.stream_old_holds(now - timedelta(seconds=unresolved_after_seconds)):
            report.add_unfinished([describe_old_hold(hold, now)])
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
