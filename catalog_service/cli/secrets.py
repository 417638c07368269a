"""Give clients secrets and take them away."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from catalog_service.clients.change_secrets import ChangeSecrets
from catalog_service.clients.client import IssuedSecret
from catalog_service.settings import DatabaseSettings
from service_chassis.cli.admin_audit import ACTOR
from service_chassis.cli.commands import AsJson, Result, run_with_pool, show, show_done
from service_chassis.cli.usage import Commands

commands = Commands(help="Clients' secrets: several live ones each.", no_args_is_help=True)

ClientId = Annotated[str, typer.Argument(metavar="ID", help="The client's id.")]

_MOMENTS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"]
_COLUMNS = {
    "secret_id": "Secret",
    "created_at": "Created at (UTC)",
    "expires_at": "Good until (UTC)",
    "last_used_at": "Last used (UTC, to the hour)",
}


@commands.command("list")
def list_live(client_id: ClientId, as_json: AsJson = False) -> None:
    """List a client's live secrets, by their ids."""
    rows = [asdict(secret) for secret in _run(lambda secrets: secrets.list_live(client_id))]
    show([{name: row[name] for name in _COLUMNS} for row in rows], as_json, _COLUMNS)


@commands.command("issue")
def issue(
    client_id: ClientId,
    expires_at: Annotated[
        datetime | None, typer.Option(formats=_MOMENTS, help="Until when it is good, UTC; without, until told.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a further secret and show it, this once; the others stay good."""
    until = expires_at and expires_at.replace(tzinfo=UTC)
    show_secret(_run(lambda secrets: secrets.issue(client_id, expires_at=until, actor=ACTOR)), as_json)


@commands.command("revoke")
def revoke(
    client_id: ClientId,
    secret_id: Annotated[str, typer.Argument(metavar="SECRET", help="The secret's id, as `list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Take a secret away at once; tokens that were issued for it live to their end."""
    _run(lambda secrets: secrets.revoke(client_id, secret_id, actor=ACTOR))
    told = f"secret {secret_id} of {client_id} is revoked"
    show_done(told, {"client_id": client_id, "secret_id": secret_id}, as_json)


def show_secret(issued: IssuedSecret, as_json: bool) -> None:
    """Print a secret, the only time that it can be."""
    told = f"client_id      {issued.client_id}\nclient_secret  {issued.client_secret}"
    show_done(f"{told}\nThe secret is not kept: note it down now.", asdict(issued), as_json)


def _run(work: Callable[[ChangeSecrets], Awaitable[Result]]) -> Result:
    return run_with_pool(DatabaseSettings, lambda pool: work(ChangeSecrets(pool)), command="catalog_service secrets")
