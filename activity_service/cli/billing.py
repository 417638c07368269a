"""What operators ask about billing: how much waits, what is parked (dead-lettered), and sending that again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

import aiohttp
import asyncpg
import typer

from activity_service.audit.charges_client import ChargesClient
from activity_service.audit.recharge import Recharged, RechargeFacts
from activity_service.audit.store import CONNECTION_SETTINGS
from activity_service.billing.metering_check import NO_HOLDS_AGE_SECONDS
from activity_service.billing.outbox_store import OutboxStore
from activity_service.cli.audit import InFlightSeconds, MeteringKeyFile, MeteringUrl
from activity_service.settings import DatabaseSettings, MeteringAccess
from service_chassis.cli.commands import AsJson, Result, audit_errors, run_with_pool, show
from service_chassis.clock import system_clock
from service_chassis.database.tenancy import ALL_CLIENTS
from service_chassis.settings import read_settings

_METERING_TIMEOUT_SECONDS = 5.0

commands = typer.Typer(help="Look at what waits to be charged, and mend what is parked.", no_args_is_help=True)


@commands.command("status")
def status(as_json: AsJson = False) -> None:
    """Count what happened and is not charged yet, and what metering refused to charge; say how metering answers.

    Metering is asked where ACTIVITY_METERING_URL and ACTIVITY_METERING_KEY are set.
    """
    state = _with_store(lambda store: store.fetch_state())
    age_seconds = None if state.oldest_age_seconds is None else round(state.oldest_age_seconds, 1)
    counts = {"unsettled": state.unsettled, "oldestUnsettledSeconds": age_seconds, "parked": state.parked}
    show({**counts, "metering": asyncio.run(_ask_metering())}, as_json)


async def _ask_metering() -> str:
    access = read_settings(MeteringAccess)
    if not (access.metering_url and access.metering_key):
        return "not asked"
    query = {"state": "held", "olderThanSeconds": str(NO_HOLDS_AGE_SECONDS), "limit": "1"}
    headers = {"Authorization": f"Bearer {access.metering_key}"}
    timeout = aiohttp.ClientTimeout(total=_METERING_TIMEOUT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(
                access.metering_url.rstrip("/") + "/internal/events",
                params=query,
                headers=headers,
                allow_redirects=False,
            ) as response,
        ):
            said = {
                200: "accepts our key",
                401: "does not know our key",
                403: "does not let our key ask about events",
            }
            return f"{said.get(response.status, 'no usable answer')} (status {response.status})"
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"cannot be reached ({type(error).__name__})"


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
def redrive(
    hold_ids: Annotated[list[UUID] | None, typer.Argument(help="Holds to send again; all without any.")] = None,
    as_json: AsJson = False,
) -> None:
    """Have parked events sent again, once what refused them is mended."""
    count = _with_store(lambda store: store.redrive_parked(hold_ids or None))
    show({"redriven": count}, as_json)


@commands.command("recharge")
def recharge(
    metering_url: MeteringUrl,
    metering_key_file: MeteringKeyFile,
    in_flight_seconds: InFlightSeconds = 60.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have facts charged that lack their charge, after metering's database was restored. Harmless twice."""
    with audit_errors():
        key = metering_key_file.read_text().strip()

    async def with_client(pool: asyncpg.Pool) -> Recharged:
        async with aiohttp.ClientSession() as session:
            charges = ChargesClient(session, url=metering_url, key=key)
            return await RechargeFacts(pool, system_clock(), in_flight_seconds).recharge(charges, dry_run=dry_run)

    with audit_errors():
        done = run_with_pool(
            DatabaseSettings, with_client, command="activity_service billing recharge", settings=CONNECTION_SETTINGS
        )
    show({"uncharged": done.uncharged, "announced": done.announced, "dryRun": dry_run}, as_json)


def _with_store(work: Callable[[OutboxStore], Awaitable[Result]]) -> Result:
    async def with_connection(pool: asyncpg.Pool) -> Result:
        async with pool.acquire() as connection:
            return await work(OutboxStore(connection))

    return run_with_pool(DatabaseSettings, with_connection, command="activity_service billing", settings=ALL_CLIENTS)
