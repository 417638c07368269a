"""Register clients, let them in and out, change their secrets."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import asyncpg
import typer

from catalog_service.clients.register import RegisterClients
from catalog_service.settings import DatabaseSettings
from service_chassis.cli.commands import AsJson, Result, run_with_pool, show, show_json
from service_chassis.cli.usage import Commands
from service_chassis.secret_file import read_secret

commands = Commands(help="Clients and their secrets.", no_args_is_help=True)

ClientId = Annotated[str, typer.Argument(metavar="ID", help="The client's id.")]

_FROM_STANDARD_INPUT = "-"
_DAY_SECONDS = 24 * 60 * 60
_COLUMNS = {
    "client_id": "Client",
    "name": "Name",
    "may_read_all_clients": "Reads all clients",
    "disabled_at": "Disabled at (UTC)",
    "created_at": "Created at (UTC)",
}


@commands.command("create")
def create(
    client_id: ClientId,
    name: Annotated[str, typer.Option(help="What people call it.")],
    secret: Annotated[
        str | None, typer.Option(help="A secret of your own instead of a random one; - reads it from standard input.")
    ] = None,
    may_read_all_clients: Annotated[
        bool, typer.Option("--may-read-all-clients", help="Let it list other clients' plan plays.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Register a client and show its secret, this once."""
    given = _read_standard_input() if secret == _FROM_STANDARD_INPUT else secret
    shown = _run(
        lambda pool: RegisterClients(pool).register(
            client_id, name=name, secret=given, may_read_all_clients=may_read_all_clients
        )
    )
    _show_secret(client_id, shown, as_json)


@commands.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List all clients."""
    show([asdict(client) for client in _run(lambda pool: RegisterClients(pool).list_clients())], as_json, _COLUMNS)


@commands.command("disable")
def disable(client_id: ClientId, as_json: AsJson = False) -> None:
    """Refuse a client new tokens, and its plans, at once; elsewhere its tokens live to their end. Its plans stay."""
    _set_disabled(client_id, True, as_json)


@commands.command("enable")
def enable(client_id: ClientId, as_json: AsJson = False) -> None:
    """Let a disabled client in again, with the secrets it had."""
    _set_disabled(client_id, False, as_json)


@commands.command("rotate-secret")
def rotate(
    client_id: ClientId,
    overlap_seconds: Annotated[
        int, typer.Option(min=0, max=365 * _DAY_SECONDS, help="How long the present secret stays good.")
    ] = _DAY_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Make a new secret and show it, this once."""
    overlap = timedelta(seconds=overlap_seconds)
    _show_secret(
        client_id, _run(lambda pool: RegisterClients(pool).rotate_secret(client_id, overlap=overlap)), as_json
    )


def _read_standard_input() -> str:
    # Somebody who types ends a line; a pipe is read to its end, so that a second line is not passed over.
    given = sys.stdin.buffer
    return read_secret(given.readline() if given.isatty() else given.read(), "standard input")


def _set_disabled(client_id: str, disabled: bool, as_json: bool) -> None:
    _run(lambda pool: RegisterClients(pool).set_disabled(client_id, disabled))
    if as_json:
        show_json({"client_id": client_id, "disabled": disabled})
    else:
        typer.echo(f"{client_id} is {'disabled' if disabled else 'enabled'}")


def _run(work: Callable[[asyncpg.Pool], Awaitable[Result]]) -> Result:
    return run_with_pool(DatabaseSettings, work, command="catalog_service clients")


def _show_secret(client_id: str, secret: str, as_json: bool) -> None:
    if as_json:
        show_json({"client_id": client_id, "client_secret": secret})
    else:
        typer.echo(f"client_id      {client_id}\nclient_secret  {secret}\nThe secret is not kept: note it down now.")
