"""What operators look at: quotas, holds that nobody resolves, and who changed what."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

import asyncpg
import typer

from metering_service.accounts.account import QuotaUse
from metering_service.accounts.administer import AdministerAccounts
from metering_service.accounts.assign import AssignPolicies
from metering_service.accounts.grant import Balance
from metering_service.accounts.quota import ReadQuotas
from metering_service.cli.accounts import BALANCE_COLUMNS, GRANT_COLUMNS
from metering_service.cli.identifier import MOMENTS, ClientId, FromDay, ToDay, read_day, read_identifier, read_moment
from metering_service.decisions.read import DecisionLine, Position, ReadDecisions, as_document
from metering_service.events.event import HeldEvent
from metering_service.events.read import FIRST_HELD, ReadEvents
from metering_service.refusals.keep import LAST_LINE, ReadRefusals
from metering_service.refusals.refusal import RefusalLine
from metering_service.settings import DatabaseSettings
from metering_service.usage.read import ReadUsage
from metering_service.usage.usage import Usage
from service_chassis.cli.commands import AsJson, Result, run_with_pool, show, show_json
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

    async def read(pool: asyncpg.Pool) -> list[QuotaUse]:
        await AdministerAccounts(pool).require_known(client_id)
        return await _list_quotas(pool, default_policy, client_id, user)

    show([use.as_document() for use in _run(read)], as_json, _QUOTA_COLUMNS)


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

    async def read(pool: asyncpg.Pool) -> Usage:
        await AdministerAccounts(pool).require_known(client_id)
        return await ReadUsage(pool).fetch(
            client_id,
            read_day(from_day),
            read_day(to_day),
            window="month" if by_month else "day",
            group_by="user" if by_user else "eventType",
        )

    show([each.as_document("user" if by_user else "eventType") for each in _run(read).sums], as_json)


@commands.command("refusals")
def refusals(
    client_id: ClientId, since: Since = None, until: Until = None, limit: Most = 100, as_json: AsJson = False
) -> None:
    """List why a client was refused, newest first, by minute, event type, limit and user. Kept for some weeks."""

    async def read(pool: asyncpg.Pool) -> Sequence[RefusalLine]:
        await AdministerAccounts(pool).require_known(client_id)
        lines, _ = await ReadRefusals(pool).list_of(
            client_id, read_moment(since), read_moment(until), LAST_LINE, limit
        )
        return lines

    show([line.as_document() for line in _run(read)], as_json, _REFUSAL_COLUMNS)


@commands.command("decisions")
def decisions(
    client_id: ClientId, since: Since = None, until: Until = None, limit: Most = 100, as_json: AsJson = False
) -> None:
    """List what was charged to a client and why it was refused, newest first; with --json with the receipts."""

    async def read(pool: asyncpg.Pool) -> Sequence[DecisionLine]:
        await AdministerAccounts(pool).require_known(client_id)
        found, _ = await ReadDecisions(pool).list_of(
            client_id, read_moment(since), read_moment(until), Position(), limit
        )
        return found

    show([as_document(line) for line in _run(read)], as_json, _DECISION_COLUMNS)


@commands.command("client")
def client(client_id: ClientId, default_policy: DefaultPolicy = "free", as_json: AsJson = False) -> None:
    """Show one client as one thing: its policy, limits, balance, usage of this month, last refusals and charges."""

    async def read(pool: asyncpg.Pool) -> dict[str, Any]:
        accounts = AdministerAccounts(pool)
        assigned = await AssignPolicies(pool).fetch(client_id)
        balance = await accounts.fetch_balance(client_id) or Balance(client_id)
        shown = balance.as_document()
        usage = await ReadUsage(pool).fetch(client_id, None, None, window="month")
        return {
            "policy": assigned.as_document(),
            "quotas": [use.as_document() for use in await _list_quotas(pool, default_policy, client_id, None)],
            "balance": shown,
            "grants": shown.pop("grants"),
            "usage": [each.as_document("eventType") for each in usage.sums],
            "lastRefusals": [line.as_document() for line in await _list_last_refusals(pool, client_id)],
            "lastEntries": [
                entry.as_document() for entry in await accounts.list_last_entries(client_id, _LAST_ENTRIES)
            ],
        }

    found = _run(read)
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

    async def read(pool: asyncpg.Pool) -> list[HeldEvent]:
        found, _ = await ReadEvents(pool).list_held(service, older_than_seconds, FIRST_HELD, limit)
        return list(found)

    rows = [
        {
            "heldAt": held.held_at,
            "clientId": held.client_id,
            "eventType": held.event_type,
            "units": held.units,
            "holdId": held.hold_id,
            "eventId": held.event_id,
        }
        for held in _run(read)
    ]
    show(rows, as_json)


async def _list_last_refusals(pool: asyncpg.Pool, client_id: str) -> Sequence[RefusalLine]:
    lines, _ = await ReadRefusals(pool).list_of(client_id, None, None, LAST_LINE, _LAST_ENTRIES)
    return lines


async def _list_quotas(pool: asyncpg.Pool, default_policy: str, client_id: str, user: str | None) -> list[QuotaUse]:
    try:
        return await ReadQuotas(pool, default_policy).list_of(client_id, user)
    except LookupError:
        raise OperatorError(f"there is no policy {default_policy}; say --default-policy") from None


def _run(work: Callable[[asyncpg.Pool], Awaitable[Result]]) -> Result:
    return run_with_pool(DatabaseSettings, work, command="metering_service command")
