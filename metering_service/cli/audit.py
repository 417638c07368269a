"""Check that accounts, holds and ledger agree."""

from typing import Annotated

import asyncpg
import typer

from metering_service.audit.run import audit_ledger, note_audit
from metering_service.cli.run import run
from service_chassis.cli.admin_audit import ACTOR
from service_chassis.cli.audit_report import AuditReport, show_report
from service_chassis.cli.commands import AsJson, audit_errors
from service_chassis.clock import system_clock
from service_chassis.database.pool import UNHURRIED


def audit(
    unresolved_after_seconds: Annotated[
        float, typer.Option(min=0, max=1e9, help="Age from which a hold that nobody resolved is listed.")
    ] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Check that accounts, holds and ledger agree, on a system in use. Changes nothing; a line says that it was done.

    Exit code 1 for a violation, 3 when it cannot look.
    """

    async def look(pool: asyncpg.Pool) -> AuditReport:
        now = system_clock()
        report = await audit_ledger(pool, now=now, unresolved_after_seconds=unresolved_after_seconds)
        await note_audit(pool, report, now=now, actor=ACTOR)
        return report

    with audit_errors():
        report = run(look, command="audit", settings=UNHURRIED)
        show_report(report, as_json=as_json)
    if not report.is_sound:
        raise typer.Exit(1)
