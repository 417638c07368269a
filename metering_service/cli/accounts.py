"""Give clients policies, show what they have, set right what a wrong clock dated."""

from datetime import datetime
from typing import Annotated

import asyncpg
import typer

from metering_service.accounts.account import LedgerEntry
from metering_service.accounts.administer import fetch_balance, mend_accounts, stream_entries
from metering_service.accounts.assign import give_policy
from metering_service.cli.identifier import MOMENTS, ClientId, Create, PolicyId, read_identifier, read_moment
from metering_service.cli.run import run, run_about
from service_chassis.cli.admin_audit import ACTOR
from service_chassis.cli.commands import AsJson, show, show_json
from service_chassis.cli.usage import Commands
from service_chassis.clock import system_clock

commands = Commands()

_POLICY_COLUMNS = ("clientId", "policyId", "from", "until", "shadow", "booked")
BALANCE_COLUMNS = ("granted", "adjusted", "spent", "expired", "held", "available", "expiringNext")
GRANT_COLUMNS = ("grantId", "kind", "state", "credits", "left", "effectiveAt", "expiresAt", "priority")
_LEDGER_COLUMNS = ("entryId", "at", "kind", "credits", "eventType", "eventId", "reference", "note")


@commands.command("assign")
def assign(
    client_id: ClientId,
    policy_id: PolicyId,
    from_when: Annotated[
        datetime | None, typer.Option("--from", formats=MOMENTS, help="From when on, UTC; without, from now.")
    ] = None,
    until: Annotated[datetime | None, typer.Option(formats=MOMENTS, help="Until when, UTC; needs --then.")] = None,
    then: Annotated[str | None, typer.Option(help="The policy from --until on.", callback=read_identifier)] = None,
    shadow: Annotated[
        str | None,
        typer.Option(
            help="A policy that decides about the same events and refuses nothing.", callback=read_identifier
        ),
    ] = None,
    reset_periods: Annotated[
        bool, typer.Option("--reset-periods", help="Count periods that do not follow the calendar anew.")
    ] = False,
    create: Create = False,
    as_json: AsJson = False,
) -> None:
    """Give a client a policy, from its next decision on or later, for good or for a time."""
    assigned = run(
        lambda pool: give_policy(
            pool,
            client_id,
            policy_id,
            from_when=read_moment(from_when),
            until=read_moment(until),
            then=then,
            shadow=shadow,
            reset_periods=reset_periods,
            create=create,
            actor=ACTOR,
        ),
        command="assign",
    )
    show(assigned, as_json, _POLICY_COLUMNS)


@commands.command("mend-clock")
def mend_clock(
    client_id: Annotated[str | None, typer.Argument(help="One client; without, all that need it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set right what was counted at a moment to come, after the database's clock was ahead. `audit` lists it."""
    mended = run(lambda pool: mend_accounts(pool, client_id, now=system_clock(), actor=ACTOR))
    show([{"clientId": each} for each in mended], as_json, ("clientId",))


@commands.command("balance")
def balance(client_id: ClientId, as_json: AsJson = False) -> None:
    """Show what a client was granted, has spent, has held and has available, and its grants with what is left."""
    found = run_about(client_id, lambda pool: fetch_balance(pool, client_id)).as_document()
    if as_json:
        show_json(found)
        return
    show(found, False, ("clientId", *BALANCE_COLUMNS))
    typer.echo("\ngrants")
    show(found["grants"], False, GRANT_COLUMNS)


@commands.command("ledger")
def ledger(client_id: ClientId, as_json: AsJson = False) -> None:
    """Show every line of a client's ledger, oldest first."""

    async def read(pool: asyncpg.Pool) -> list[LedgerEntry]:
        return [entry async for entries in stream_entries(pool, client_id) for entry in entries]

    show([entry.as_document() for entry in run(read)], as_json, _LEDGER_COLUMNS)
