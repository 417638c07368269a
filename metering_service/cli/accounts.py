"""Give clients policies, show what they have, set right what a wrong clock dated."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated

import typer

from metering_service.accounts.account import LedgerEntry
from metering_service.accounts.administer import AdministerAccounts
from metering_service.accounts.assign import AssignPolicies
from metering_service.accounts.grant import Balance
from metering_service.cli.identifier import MOMENTS, ClientId, Create, PolicyId, read_identifier, read_moment
from metering_service.settings import DatabaseSettings
from service_chassis.cli.admin_audit import ACTOR
from service_chassis.cli.commands import AsJson, Result, run_with_pool, show, show_json
from service_chassis.cli.usage import Commands

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
    assigned = run_with_pool(
        DatabaseSettings,
        lambda pool: AssignPolicies(pool).assign(
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
        command="metering_service assign",
    )
    show(assigned.as_document(), as_json, _POLICY_COLUMNS)


@commands.command("mend-clock")
def mend_clock(
    client_id: Annotated[str | None, typer.Argument(help="One client; without, all that need it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set right what was counted at a moment to come, after the database's clock was ahead. `audit` lists it."""

    async def mend(accounts: AdministerAccounts) -> list[str]:
        if client_id is not None:
            await accounts.require_known(client_id)
        return await accounts.mend_clock(client_id, actor=ACTOR)

    show([{"clientId": each} for each in _run(mend)], as_json, ("clientId",))


@commands.command("balance")
def balance(client_id: ClientId, as_json: AsJson = False) -> None:
    """Show what a client was granted, has spent, has held and has available, and its grants with what is left."""
    found = _run(lambda accounts: _fetch_balance(accounts, client_id)).as_document()
    if as_json:
        show_json(found)
        return
    show(found, False, ("clientId", *BALANCE_COLUMNS))
    typer.echo("\ngrants")
    show(found["grants"], False, GRANT_COLUMNS)


async def _fetch_balance(accounts: AdministerAccounts, client_id: str) -> Balance:
    await accounts.require_known(client_id)
    return await accounts.fetch_balance(client_id) or Balance(client_id)


@commands.command("ledger")
def ledger(client_id: ClientId, as_json: AsJson = False) -> None:
    """Show every line of a client's ledger, oldest first."""

    async def read(accounts: AdministerAccounts) -> list[LedgerEntry]:
        await accounts.require_known(client_id)
        return [entry async for entries in accounts.stream_entries(client_id) for entry in entries]

    show([entry.as_document() for entry in _run(read)], as_json, _LEDGER_COLUMNS)


def _run(work: Callable[[AdministerAccounts], Awaitable[Result]]) -> Result:
    return run_with_pool(
        DatabaseSettings, lambda pool: work(AdministerAccounts(pool)), command="metering_service command"
    )
