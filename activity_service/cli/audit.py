"""`python -m activity_service audit`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from activity_service.audit.store import CONNECTION_SETTINGS
from activity_service.settings import DatabaseSettings
from service_chassis.cli.audit_report import AuditReport, show_report
from service_chassis.cli.commands import AsJson, judging
from service_chassis.clock import system_clock
from service_chassis.database.pool import create_pool
from service_chassis.settings import read_settings


def audit(
    metering_url: Annotated[
        str | None, typer.Option(help="Metering's root: holds every play against its charge, too.")
    ] = None,
    metering_key_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="File with a service key of scope admin.")
    ] = None,
    in_flight_seconds: Annotated[
        float, typer.Option(min=0, max=1e9, help="Age up to which a fact may be on its way to metering.")
    ] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Check that each fact has its one fence, each key its play and, with metering, each fact its one charge.

    Reads only. Exit code 1 for a violation, 3 when it cannot look.
    """
    if (metering_url is None) != (metering_key_file is None):
        raise typer.BadParameter("--metering-url and --metering-key-file go together")
    with judging():
        dsn = read_settings(DatabaseSettings).postgres_dsn
        key = metering_key_file.read_text().strip() if metering_key_file is not None else ""
        report = asyncio.run(_audit(dsn, metering_url, key, in_flight_seconds))
    show_report(report, as_json=as_json)
    if not report.is_sound:
        raise typer.Exit(1)


async def _audit(dsn: str, metering_url: str | None, key: str, in_flight_seconds: float) -> AuditReport:
    # Here and not above: the other commands should not wait for an HTTP client to be imported.
    import aiohttp

    from activity_service.audit.charges_client import ChargesClient
    from activity_service.audit.run import audit_charges, audit_fences

    async with await create_pool(
        dsn, size=1, application_name="activity_service audit", settings=CONNECTION_SETTINGS
    ) as pool:
        report = await audit_fences(pool, now=system_clock(), in_flight_seconds=in_flight_seconds)
        if metering_url is None:
            return report
        whole = AuditReport("activity and metering")
        whole.absorb(report)
        async with aiohttp.ClientSession() as session:
            client = ChargesClient(session, url=metering_url, key=key)
            whole.absorb(await audit_charges(pool, client, now=system_clock(), in_flight_seconds=in_flight_seconds))
        return whole
