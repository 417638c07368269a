"""What operators look at: quotas, holds that nobody resolves, and who changed what."""

from datetime import datetime
from typing import Annotated, Any

import asyncpg
import typer

from metering_service.accounts.account import QuotaUse
from metering_service.accounts.administer import fetch_balance
from metering_service.accounts.assign import fetch_client_policy
from metering_service.accounts.ledger_store import LedgerStore
from metering_service.accounts.quota import list_quotas
from metering_service.cli.accounts import BALANCE_COLUMNS, GRANT_COLUMNS
from metering_service.cli.identifier import MOMENTS, ClientId, FromDay, ToDay, read_day, read_identifier, read_moment
from metering_service.cli.run import run, run_about
from metering_service.decisions.read import Position, as_document, find_decisions
from metering_service.events.read import FIRST_HELD, list_held
from metering_service.refusals.keep import LAST_LINE, find_refusals
from metering_service.usage.read import fetch_usage
from metering_service.usage.usage import GroupBy, Window
from service_chassis.cli.commands import AsJson, show, show_json
from service_chassis.cli.usage import Commands
from service_chassis.errors import OperatorError

commands = Commands()

DefaultPolicy = Annotated[
    str,
    typer.Option(
        envvar="METERING_DEFAULT_POLICY", help="Policy of a client that has none assigned.", callback=read_identifier
    ),
]
_LAST_ENTRIES = 5
_POLICY_COLUMNS = ("clientId", "policyId", "from", "until", "shadow", "booked")
_QUOTA_COLUMNS = ("name", "counts", "limit", "used", "held", "overage", "resetsAt")

_REFUSAL_COLUMNS = ("minute", "eventType", "code", "limit", "userId", "count", "lastAt")
_DECISION_COLUMNS = ("at", "kind", "eventType", "userId", "units", "credits", "code", "limit", "count", "eventId")
_CLIENT_TABLES = {
    "quotas": _QUOTA_COLUMNS,
    "balance": BALANCE_COLUMNS,
    "grants": GRANT_COLUMNS,
    "usage": ("window", "eventType", "charged", "units", "credits", "overage", "refused"),
    "lastRefusals": _REFUSAL_COLUMNS,
    "lastEntries": ("at", "kind", "credits", "eventType", "eventId", "reference"),
}

Since = Annotated[
    datetime | None, typer.Option("--from", formats=MOMENTS, help="The first minute, UTC; without, any.")
]
Until = Annotated[datetime | None, typer.Option("--to", formats=MOMENTS, help="The minute after the last one, UTC.")]
Most = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most lines to show.")]


@commands.command("quota")
def quota(
    client_id: ClientId,
    default_policy: DefaultPolicy = "free",
    user: Annotated[str | None, typer.Option(help="Show the quotas per user, too, of this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how much of its quotas a client has used and holds in their present periods."""
    found = run_about(client_id, lambda pool: _list_quotas(pool, default_policy, client_id, user))
    show([use.as_document() for use in found], as_json, _QUOTA_COLUMNS)


@commands.command("usage")
def usage(
    client_id: ClientId,
    from_day: FromDay = None,
    to_day: ToDay = None,
    by_month: Annotated[bool, typer.Option("--by-month", help="Sums of months instead of days.")] = False,
    by_user: Annotated[bool, typer.Option("--by-user", help="Sums by user instead of event type.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a client was charged for, in sums, by the UTC day on which it happened."""
    begin, end = read_day(from_day), read_day(to_day)
    window: Window = "month" if by_month else "day"
    group_by: GroupBy = "user" if by_user else "eventType"
    found = run_about(
        client_id, lambda pool: fetch_usage(pool, client_id, begin, end, window=window, group_by=group_by)
    )
    show([each.as_document(group_by) for each in found.sums], as_json)


@commands.command("refusals")
def refusals(
    client_id: ClientId, since: Since = None, until: Until = None, limit: Most = 100, as_json: AsJson = False
) -> None:
    """List why a client was refused, newest first, by minute, event type, limit and user. Kept for some weeks."""
    begin, end = read_moment(since), read_moment(until)
    lines, _ = run_about(client_id, lambda pool: find_refusals(pool, client_id, begin, end, LAST_LINE, limit))
    show([line.as_document() for line in lines], as_json, _REFUSAL_COLUMNS)


@commands.command("decisions")
def decisions(
    client_id: ClientId, since: Since = None, until: Until = None, limit: Most = 100, as_json: AsJson = False
) -> None:
    """List what was charged to a client and why it was refused, newest first; with --json with the receipts."""
    begin, end = read_moment(since), read_moment(until)
    lines, _ = run_about(client_id, lambda pool: find_decisions(pool, client_id, begin, end, Position(), limit))
    show([as_document(line) for line in lines], as_json, _DECISION_COLUMNS)


@commands.command("client")
def client(client_id: ClientId, default_policy: DefaultPolicy = "free", as_json: AsJson = False) -> None:
    """Show one client as one thing: its policy, limits, balance, usage of this month, last refusals and charges."""

    async def read(pool: asyncpg.Pool) -> dict[str, Any]:
        assigned = await fetch_client_policy(pool, client_id)
        shown = (await fetch_balance(pool, client_id)).as_document()
        usage = await fetch_usage(pool, client_id, None, None, window="month")
        refusals, _ = await find_refusals(pool, client_id, None, None, LAST_LINE, _LAST_ENTRIES)
        entries = await LedgerStore(pool).list_last_entries(client_id, _LAST_ENTRIES)
        return {
            "policy": assigned,
            "quotas": [use.as_document() for use in await _list_quotas(pool, default_policy, client_id, None)],
            "balance": shown,
            "grants": shown.pop("grants"),
            "usage": [each.as_document("eventType") for each in usage.sums],
            "lastRefusals": [line.as_document() for line in refusals],
            "lastEntries": [entry.as_document() for entry in entries],
        }

    found = run(read)
    if as_json:
        show_json(found)
        return
    policy = found.pop("policy")
    show({**policy, "policyId": policy["policyId"] or f"{default_policy} (default)"}, False, _POLICY_COLUMNS)
    for title, columns in _CLIENT_TABLES.items():
        typer.echo(f"\n{title}")
        show(found[title], False, columns)


@commands.command("holds")
def holds(
    older_than_seconds: Annotated[
        int, typer.Option(min=0, max=10**9, help="Younger ones are of requests under way.")
    ] = 60,
    service: Annotated[str | None, typer.Option(help="The name of the service key that made them.")] = None,
    limit: Most = 100,
    as_json: AsJson = False,
) -> None:
    """List holds that nobody has settled or released, oldest first. None is the rule."""
    found, _ = run(lambda pool: list_held(pool, service, older_than_seconds, FIRST_HELD, limit))
    rows = [
        {
            "heldAt": held.held_at,
            "clientId": held.client_id,
            "eventType": held.event_type,
            "units": held.units,
            "holdId": held.hold_id,
            "eventId": held.event_id,
        }
        for held in found
    ]
    show(rows, as_json)


async def _list_quotas(pool: asyncpg.Pool, default_policy: str, client_id: str, user: str | None) -> list[QuotaUse]:
    try:
        return (await list_quotas(pool, default_policy, [client_id], user))[client_id]
    except LookupError:
        raise OperatorError(f"there is no policy {default_policy}; say --default-policy") from None
