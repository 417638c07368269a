"""Give clients credits, and take them back."""

from datetime import datetime
from typing import Annotated

import typer

from metering_service.accounts import give_credits
from metering_service.accounts.grant import DEFAULT_PRIORITY, MAX_PRIORITY, Every, RecurringTerms
from metering_service.cli.identifier import MOMENTS, ClientId, Create, read_identifier, read_moment, read_note
from metering_service.cli.run import run
from metering_service.policies.policy import MAX_GRANT_CREDITS
from service_chassis.cli.admin_audit import ACTOR
from service_chassis.cli.commands import AsJson, show
from service_chassis.cli.usage import Commands
from service_chassis.errors import OperatorError

commands = Commands()

_GRANT_COLUMNS = ("grantId", "credits", "effectiveAt", "expiresAt", "priority", "source", "note")
_ENTRY_COLUMNS = ("entryId", "kind", "credits", "reference", "note", "at")
_RECURRING_COLUMNS = ("recurringId", "credits", "every", "startsAt", "endsAt", "expires", "rollover", "nextAt")

Credits = Annotated[int, typer.Argument(min=1, max=MAX_GRANT_CREDITS, help="How many credits.")]
Priority = Annotated[int, typer.Option(min=0, max=MAX_PRIORITY, help="Whose is lower is drawn first.")]
Reason = Annotated[str, typer.Option(help="For the ledger.", callback=read_note)]
Note = Annotated[str | None, typer.Option(help="For the ledger.", callback=read_note)]


@commands.command("grant")
def grant(
    client_id: ClientId,
    credits: Credits,
    grant_id: Annotated[str, typer.Option(help="The same id again changes nothing.", callback=read_identifier)],
    effective_at: Annotated[
        datetime | None, typer.Option(formats=MOMENTS, help="From when on, UTC; without, from now.")
    ] = None,
    expires_at: Annotated[datetime | None, typer.Option(formats=MOMENTS, help="Until when, UTC.")] = None,
    priority: Priority = DEFAULT_PRIORITY,
    note: Note = None,
    source: Annotated[
        str | None, typer.Option(help="Where it comes from: an order, a promotion.", callback=read_identifier)
    ] = None,
    create: Create = False,
    as_json: AsJson = False,
) -> None:
    """Grant credits to a client, for good or for a time."""
    given = run(
        lambda pool: give_credits.give(
            pool,
            client_id,
            grant_id,
            credits,
            effective_at=read_moment(effective_at),
            expires_at=read_moment(expires_at),
            priority=priority,
            source=source,
            note=note,
            create=create,
            actor=ACTOR,
        )
    )
    show(given.as_document(), as_json, _GRANT_COLUMNS)


@commands.command("grant-recurring")
def grant_recurring(
    client_id: ClientId,
    credits: Credits,
    recurring_id: Annotated[str, typer.Option(help="The same id again changes it.", callback=read_identifier)],
    starts_at: Annotated[
        datetime, typer.Option(formats=MOMENTS, help="When the first period begins, UTC; or the one under way.")
    ],
    every: Annotated[Every, typer.Option(help="How long a period is.")] = "month",
    ends_at: Annotated[datetime | None, typer.Option(formats=MOMENTS, help="No period begins then or later.")] = None,
    keep: Annotated[bool, typer.Option("--never-expires", help="What is left of a period stays for good.")] = False,
    rollover: Annotated[
        int | None, typer.Option(min=1, max=MAX_GRANT_CREDITS, help="So much of it at most goes into the next.")
    ] = None,
    priority: Priority = DEFAULT_PRIORITY,
    create: Create = False,
    as_json: AsJson = False,
) -> None:
    """Grant credits to a client every day, week, month or year; a change counts from the next period on."""
    terms = RecurringTerms(
        *(credits, every, read_moment(starts_at), read_moment(ends_at)), not keep, rollover, priority
    )
    put = run(
        lambda pool: give_credits.put_recurring(pool, client_id, recurring_id, terms, create=create, actor=ACTOR)
    )
    show(put.as_document(), as_json, _RECURRING_COLUMNS)


@commands.command("recurring-grants")
def recurring_grants(client_id: ClientId, as_json: AsJson = False) -> None:
    """List what a client is granted again and again."""
    found = run(lambda pool: give_credits.list_recurring(pool, client_id))
    show([each.as_document() for each in found], as_json, _RECURRING_COLUMNS)


@commands.command("void-grant")
def void_grant(
    client_id: ClientId,
    grant_id: Annotated[str, typer.Argument(help="The grant's id, as `balance` shows it.", callback=read_identifier)],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Take what is left of a grant; what live holds lie on they may still spend."""
    voided = run(lambda pool: give_credits.void(pool, client_id, grant_id, reason=reason, actor=ACTOR))
    show({"grantId": grant_id, "voided": voided.lapsed, "held": voided.pinned}, as_json)


@commands.command("refund")
def refund(
    client_id: ClientId,
    event_id: Annotated[str, typer.Argument(help="The event whose charge is given back.", callback=read_identifier)],
    refund_id: Annotated[str, typer.Option(help="The same id again changes nothing.", callback=read_identifier)],
    reason: Reason,
    credits: Annotated[
        int | None, typer.Option(min=1, max=MAX_GRANT_CREDITS, help="How many; without, all of it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give back credits of a charge, as a grant without expiry."""
    given = run(
        lambda pool: give_credits.refund(pool, client_id, refund_id, event_id, credits, reason=reason, actor=ACTOR)
    )
    show({"refundId": refund_id, "eventId": event_id, "credits": given.credits}, as_json)


@commands.command("adjust")
def adjust(
    client_id: ClientId,
    credits: Annotated[
        int,
        typer.Argument(min=-MAX_GRANT_CREDITS, max=MAX_GRANT_CREDITS, help="Signed: -5 takes five."),
    ],
    adjustment_id: Annotated[str, typer.Option(help="The same id again changes nothing.", callback=read_identifier)],
    reason: Reason,
    create: Create = False,
    as_json: AsJson = False,
) -> None:
    """Correct a client's credits, up or down; never below what is available."""
    if credits == 0:
        raise OperatorError("credits: must not be 0")
    entry = run(
        lambda pool: give_credits.adjust(
            pool, client_id, adjustment_id, credits, reason=reason, create=create, actor=ACTOR
        )
    )
    show(entry.as_document(), as_json, _ENTRY_COLUMNS)
