"""What operators ask about billing: how much waits, what is parked, and sending that again."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, TypeVar
from uuid import UUID

import typer

from activity_service.billing.outbox_store import BillableEventStore
from activity_service.settings import DatabaseSettings
from service_chassis.cli.commands import AsJson, run_with_pool, show_json, show_table
from service_chassis.clock import system_clock
from service_chassis.database.tenancy import ALL_CLIENTS
from service_chassis.settings import read_settings

Result = TypeVar("Result")

billing = typer.Typer(help="Look at what waits to be charged, and mend what is parked.", no_args_is_help=True)


@billing.command()
def status(as_json: AsJson = False) -> None:
    """Count what happened and is not charged yet, and what metering refused to charge."""
    state = _with_store(lambda store: store.fetch_state())
    oldest = state.oldest_created_at
    age_seconds = None if oldest is None else round((system_clock() - oldest).total_seconds(), 1)
    _show({"unsettled": state.unsettled, "oldestUnsettledSeconds": age_seconds, "parked": state.parked}, as_json)


@billing.command()
def parked(
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most events to show.")] = 100,
) -> None:
    """List the events that metering refused to charge, the oldest first."""
    rows = _with_store(lambda store: store.list_parked(limit))
    names = {
        "hold_id": "holdId",
        "event_id": "eventId",
        "client_id": "clientId",
        "parked_at": "parkedAt",
        "attempts": "attempts",
        "last_error": "lastError",
    }
    _show([{names[name]: value for name, value in row.items()} for row in rows], as_json)


@billing.command()
def redrive(
    hold_ids: Annotated[list[UUID] | None, typer.Argument(help="Holds to send again; all without any.")] = None,
    as_json: AsJson = False,
) -> None:
    """Have parked events sent again, once what refused them is mended."""
    count = _with_store(lambda store: store.redrive_parked(hold_ids or None, system_clock()))
    _show({"redriven": count}, as_json)


def _with_store(work: Callable[[BillableEventStore], Awaitable[Result]]) -> Result:
    return run_with_pool(
        read_settings(DatabaseSettings).postgres_dsn,
        lambda pool: work(BillableEventStore(pool)),
        application_name="activity_service billing",
        settings=ALL_CLIENTS,
    )


def _show(found: Mapping[str, object] | Sequence[Mapping[str, object]], as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    rows = [found] if isinstance(found, Mapping) else found
    show_table(rows, {name: name for name in rows[0]} if rows else {})
