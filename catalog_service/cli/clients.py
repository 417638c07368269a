"""Register clients, let them in and out, change their secrets."""

import sys
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from catalog_service.cli.operator import ClientId, run_with_pool
from catalog_service.clients.register import list_clients, register_client, rotate_secret, set_client_disabled
from service_chassis.cli.commands import AsJson, show_json, show_table
from service_chassis.clock import system_clock

commands = typer.Typer(help="Clients and their secrets.", no_args_is_help=True)

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
    given = sys.stdin.readline().rstrip("\n") if secret == _FROM_STANDARD_INPUT else secret
    shown = run_with_pool(
        lambda pool: register_client(
            pool,
            client_id,
            name=name,
            secret=given,
            may_read_all_clients=may_read_all_clients,
            now=system_clock(),
        )
    )
    _show_secret(client_id, shown, as_json)


@commands.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List all clients."""
    clients = [asdict(client) for client in run_with_pool(list_clients)]
    if as_json:
        show_json(clients)
    else:
        show_table(clients, _COLUMNS)


@commands.command("disable")
def disable(client_id: ClientId) -> None:
    """Refuse a client new tokens, and its plans, at once; elsewhere its tokens live to their end. Its plans stay."""
    run_with_pool(lambda pool: set_client_disabled(pool, client_id, disabled=True, now=system_clock()))
    typer.echo(f"{client_id} is disabled")


@commands.command("enable")
def enable(client_id: ClientId) -> None:
    """Let a disabled client in again, with the secrets it had."""
    run_with_pool(lambda pool: set_client_disabled(pool, client_id, disabled=False, now=system_clock()))
    typer.echo(f"{client_id} is enabled")


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
    secret = run_with_pool(lambda pool: rotate_secret(pool, client_id, overlap=overlap, now=system_clock()))
    _show_secret(client_id, secret, as_json)


def _show_secret(client_id: str, secret: str, as_json: bool) -> None:
    if as_json:
        show_json({"client_id": client_id, "client_secret": secret})
    else:
        typer.echo(f"client_id      {client_id}\nclient_secret  {secret}\nThe secret is not kept: note it down now.")
