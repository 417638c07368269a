"""What operators look at: quotas, holds that nobody resolves, and who changed what."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import asyncpg
import typer

from metering_service.accounts.account import QuotaUse
from metering_service.accounts.administer import AdministerAccounts
from metering_service.accounts.quota import ReadQuotas
from metering_service.admin_audit.store import AdminAuditLine, AdminAuditStore
from metering_service.cli.identifier import ClientId
from metering_service.events.event import HeldEvent
from metering_service.events.read import FIRST_HELD, ReadEvents
from metering_service.settings import DatabaseSettings
from service_chassis.cli.commands import AsJson, Result, run_with_pool, show
from service_chassis.errors import OperatorError

commands = typer.Typer()

_QUOTA_COLUMNS = ("name", "counts", "limit", "used", "held", "overage", "resetsAt")

Most = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most lines to show.")]


@commands.command("quota")
def quota(
    client_id: ClientId,
    default_policy: Annotated[
        str, typer.Option(envvar="METERING_DEFAULT_POLICY", help="Policy of a client that has none assigned.")
    ] = "free",
    user: Annotated[str | None, typer.Option(help="Show the quotas per user, too, of this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how much of its quotas a client has used and holds in their present periods."""

    async def read(pool: asyncpg.Pool) -> list[QuotaUse]:
        await AdministerAccounts(pool).require_known(client_id)
        try:
            return await ReadQuotas(pool, default_policy).list_of(client_id, user)
        except LookupError:
            raise OperatorError(f"there is no policy {default_policy}; say --default-policy") from None

    show([use.as_document() for use in _run(read)], as_json, _QUOTA_COLUMNS)


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


@commands.command("admin-audit")
def admin_audit(
    target: Annotated[str | None, typer.Argument(help="A client's or a policy's id; all without.")] = None,
    limit: Most = 100,
    as_json: AsJson = False,
) -> None:
    """List administrative changes, newest first: who is the name of a service key, or the command line."""

    async def read(pool: asyncpg.Pool) -> list[AdminAuditLine]:
        async with pool.acquire() as connection:
            return await AdminAuditStore(connection).list_lines(target, limit)

    rows = [
        {"at": line.at, "actor": line.actor, "action": line.action, "target": line.target, "detail": line.detail}
        for line in _run(read)
    ]
    show(rows, as_json)


def _run(work: Callable[[asyncpg.Pool], Awaitable[Result]]) -> Result:
    return run_with_pool(DatabaseSettings, work, command="metering_service command")
