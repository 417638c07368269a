"""What operators ask about billing: how much waits, what is parked (dead-lettered), and sending that again."""

from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

import asyncpg
import typer

from activity_service.billing.outbox_store import OutboxStore
from activity_service.settings import DatabaseSettings
from service_chassis.cli.commands import AsJson, Result, run_with_pool, show
from service_chassis.clock import system_clock
from service_chassis.database.tenancy import ALL_CLIENTS

commands = typer.Typer(help="Look at what waits to be charged, and mend what is parked.", no_args_is_help=True)


@commands.command("status")
def status(as_json: AsJson = False) -> None:
    """Count what happened and is not charged yet, and what metering refused to charge."""
    state = _with_store(lambda store: store.fetch_state())
    oldest = state.oldest_created_at
    age_seconds = None if oldest is None else round((system_clock() - oldest).total_seconds(), 1)
    show({"unsettled": state.unsettled, "oldestUnsettledSeconds": age_seconds, "parked": state.parked}, as_json)


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
    count = _with_store(lambda store: store.redrive_parked(hold_ids or None, system_clock()))
    show({"redriven": count}, as_json)


def _with_store(work: Callable[[OutboxStore], Awaitable[Result]]) -> Result:
    async def with_connection(pool: asyncpg.Pool) -> Result:
        async with pool.acquire() as connection:
            return await work(OutboxStore(connection))

    return run_with_pool(DatabaseSettings, with_connection, command="activity_service billing", settings=ALL_CLIENTS)
