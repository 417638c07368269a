"""`python -m metering_service audit`."""

import asyncio
from typing import Annotated

import typer

from metering_service.audit_ledger import audit_ledger
from metering_service.audit_store import CONNECTION_SETTINGS
from metering_service.settings import DatabaseSettings
from service_chassis.audit_report import AuditReport, show_report
from service_chassis.clock import system_clock
from service_chassis.postgres import create_pool
from service_chassis.settings import read_settings


def audit(
    unresolved_after_seconds: Annotated[
        float, typer.Option(min=0, help="Age from which a hold that nobody resolved is listed.")
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs instead of a table.")] = False,
) -> None:
    """Check that accounts, holds and ledger agree, on a system in use; exit 1 if they do not. Reads only."""
    report = asyncio.run(_audit(read_settings(DatabaseSettings).postgres_dsn, unresolved_after_seconds))
    show_report(report, as_json=as_json)
    if not report.is_sound:
        raise typer.Exit(1)


async def _audit(dsn: str, unresolved_after_seconds: float) -> AuditReport:
    pool = await create_pool(dsn, size=1, application_name="metering_service audit", settings=CONNECTION_SETTINGS)
    try:
        return await audit_ledger(pool, now=system_clock(), unresolved_after_seconds=unresolved_after_seconds)
    finally:
        await pool.close()
