"""Check the books: what waits against its plays and, with metering, plays against their charges."""

from pathlib import Path
from typing import Annotated

import aiohttp
import asyncpg
import typer

from activity_service.audit.run import AuditPlays
from activity_service.audit.store import CONNECTION_SETTINGS
from activity_service.settings import DatabaseSettings
from metering_client.charges_client import ChargesClient
from service_chassis.cli.audit_report import AuditReport, show_report
from service_chassis.cli.commands import AsJson, audit_errors, run_with_pool
from service_chassis.clock import system_clock
from service_chassis.secret_file import read_secret_file

_METERING_URL = typer.Option(help="Metering's root: plays are compared with its charges.")
_METERING_KEY_FILE = typer.Option(exists=True, dir_okay=False, help="File with a service key of scope admin.")
MeteringUrl = Annotated[str, _METERING_URL]
MeteringKeyFile = Annotated[Path, _METERING_KEY_FILE]
InFlightSeconds = Annotated[
    float, typer.Option(min=0, max=1e9, help="Age up to which a fact may be on its way to metering.")
]


def audit(
    metering_url: Annotated[str | None, _METERING_URL] = None,
    metering_key_file: Annotated[Path | None, _METERING_KEY_FILE] = None,
    in_flight_seconds: InFlightSeconds = 60.0,
    as_json: AsJson = False,
) -> None:
    """Check that what is to be charged happened and, with metering, that each fact has its one charge.

    Reads only. Exit code 1 for a violation, 3 when it cannot look.
    """
    if (metering_url is None) != (metering_key_file is None):
        raise typer.BadParameter("--metering-url and --metering-key-file go together")
    with audit_errors():
        key = read_secret_file(metering_key_file) if metering_key_file is not None else ""
        report = run_with_pool(
            DatabaseSettings,
            lambda pool: _audit(pool, metering_url, key, in_flight_seconds),
            command="activity_service audit",
            settings=CONNECTION_SETTINGS,
            connections=2,  # plays are read by one while what looks wrong is read again by the other
        )
        show_report(report, as_json=as_json)
    if not report.is_sound:
        raise typer.Exit(1)


async def _audit(pool: asyncpg.Pool, metering_url: str | None, key: str, in_flight_seconds: float) -> AuditReport:
    report = await AuditPlays(pool, system_clock(), in_flight_seconds).check_outbox()
    if metering_url is None:
        return report
    whole = AuditReport("activity and metering")
    whole.merge(report)
    async with aiohttp.ClientSession() as session:
        client = ChargesClient(session, url=metering_url, key=key)
        whole.merge(await AuditPlays(pool, system_clock(), in_flight_seconds).check_charges(client))
    return whole
