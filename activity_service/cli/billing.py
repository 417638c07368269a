"""What operators ask about billing: how much waits, what is parked (dead-lettered), and sending that again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

import aiohttp
import asyncpg
import typer

from activity_service.audit.run import AuditPlays, redrive
from activity_service.audit.store import CONNECTION_SETTINGS
from activity_service.cli.audit import InFlightSeconds, MeteringKeyFile, MeteringUrl
from activity_service.settings import DatabaseSettings, MeteringAccess
from metering_client.charges_client import ChargesClient
from metering_client.key_check import ask_metering
from metering_client.outbox_store import OutboxStore
from metering_client.recharge import Recharged
from service_chassis.cli.admin_audit import ACTOR
from service_chassis.cli.commands import AsJson, Result, audit_errors, run_with_pool, show
from service_chassis.cli.usage import Commands
from service_chassis.clock import system_clock
from service_chassis.database.tenancy import ALL_CLIENTS
from service_chassis.secret_file import read_secret_file
from service_chassis.settings import read_settings

commands = Commands(help="Look at what waits to be charged, and mend what is parked.", no_args_is_help=True)


@commands.command("status")
def status(as_json: AsJson = False) -> None:
    """Count what happened and is not charged yet, and what metering refused to charge; say how metering answers.

    Metering is asked where ACTIVITY_METERING_URL and ACTIVITY_METERING_KEY are set.
    """
    state = _with_store(lambda store: store.fetch_state())
    age_seconds = None if state.oldest_age_seconds is None else round(state.oldest_age_seconds, 1)
    counts = {"unsettled": state.unsettled, "oldestUnsettledSeconds": age_seconds, "parked": state.parked}
    access = read_settings(MeteringAccess)
    is_told = access.metering_url and access.metering_key
    metering = asyncio.run(_ask_metering(access)) if is_told else "not asked"
    show({**counts, "metering": metering}, as_json)


async def _ask_metering(access: MeteringAccess) -> str:
    async with aiohttp.ClientSession() as session:
        return (await ask_metering(session, access.metering_url, access.metering_key)).words


@commands.command("parked")
def list_parked(
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most events to show.")] = 100,
) -> None:
    """List the events that metering refused to charge, the oldest first."""
    rows = [
        {
            "holdId": event.hold_id,
            "eventId": event.event_id,
            "clientId": event.client_id,
            "parkedAt": event.parked_at,
            "attempts": event.attempts,
            "lastError": event.last_error,
        }
        for event in _with_store(lambda store: store.list_parked(limit))
    ]
    show(rows, as_json)


@commands.command("redrive")
def redrive_parked(
    hold_ids: Annotated[list[UUID] | None, typer.Argument(help="Holds to send again; all without any.")] = None,
    as_json: AsJson = False,
) -> None:
    """Have parked events sent again, once what refused them is mended."""
    show({"redriven": _run(lambda pool: redrive(pool, hold_ids or None, actor=ACTOR))}, as_json)


@commands.command("recharge")
def recharge(
    metering_url: MeteringUrl,
    metering_key_file: MeteringKeyFile,
    in_flight_seconds: InFlightSeconds = 60.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have facts charged that lack their charge, after metering's database was restored. Harmless twice.

    What is inFlight lacks its charge, too, and is left out as too young: run it again for that.
    """
    with audit_errors():
        key = read_secret_file(metering_key_file)

    async def with_client(pool: asyncpg.Pool) -> Recharged:
        async with aiohttp.ClientSession() as session:
            charges = ChargesClient(session, url=metering_url, key=key)
            return await AuditPlays(pool, system_clock(), in_flight_seconds).recharge(
                charges, dry_run=dry_run, actor=ACTOR
            )

    with audit_errors():
        done = run_with_pool(
            DatabaseSettings,
            with_client,
            command="activity_service billing recharge",
            settings=CONNECTION_SETTINGS,
            connections=2,  # facts are read by one while others of them are written by the other
        )
    counts = {"uncharged": done.uncharged, "announced": done.announced, "inFlight": done.in_flight}
    show({**counts, "dryRun": dry_run}, as_json)


def _with_store(work: Callable[[OutboxStore], Awaitable[Result]]) -> Result:
    async def with_connection(pool: asyncpg.Pool) -> Result:
        async with pool.acquire() as connection:
            return await work(OutboxStore(connection))

    return _run(with_connection)


def _run(work: Callable[[asyncpg.Pool], Awaitable[Result]]) -> Result:
    return run_with_pool(DatabaseSettings, work, command="activity_service billing", settings=ALL_CLIENTS)
