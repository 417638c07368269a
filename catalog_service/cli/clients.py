"""Register clients, let them in and out, change their secrets."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from catalog_service.cli.secrets import ClientId, show_secret
from catalog_service.clients.change_secrets import ChangeSecrets
from catalog_service.clients.client import DEFAULT_OVERLAP_SECONDS, MAX_OVERLAP_SECONDS
from catalog_service.clients.register import RegisterClients
from catalog_service.settings import DatabaseSettings
from service_chassis.cli.admin_audit import ACTOR
from service_chassis.cli.commands import AsJson, Result, run_with_pool, show, show_done
from service_chassis.cli.usage import Commands
from service_chassis.http.cursor import read_pages
from service_chassis.secret_file import read_secret

commands = Commands(help="Clients: who may use the API, and what each may do.", no_args_is_help=True)

_FROM_STANDARD_INPUT = "-"
_PAGE_CLIENTS = 1000
_COMMAND = "catalog_service clients"
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
    _, issued = _run(
        lambda clients: clients.register(
            client_id, name=name, secret=given, may_read_all_clients=may_read_all_clients, actor=ACTOR
        )
    )
    show_secret(issued, as_json)


@commands.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List all clients."""
    found = _run(
        lambda clients: read_pages(
            lambda after: clients.list_clients(after, _PAGE_CLIENTS), "", lambda client: client.client_id
        )
    )
    show([asdict(client) for client in found], as_json, _COLUMNS)


@commands.command("disable")
def disable(client_id: ClientId, as_json: AsJson = False) -> None:
    """Refuse a client new tokens, and its plans, at once; elsewhere its tokens live to their end. Its plans stay."""
    _set_disabled(client_id, True, as_json)


@commands.command("enable")
def enable(client_id: ClientId, as_json: AsJson = False) -> None:
    """Let a disabled client in again, with the secrets it had."""
    _set_disabled(client_id, False, as_json)


@commands.command("permit")
def permit(
    client_id: ClientId,
    may_read_all_clients: Annotated[
        bool,
        typer.Option(
            "--may-read-all-clients/--may-not-read-all-clients", help="Let it list other clients' plan plays, or not."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Change what a client may do, from its next token on."""
    changed = _run(lambda clients: clients.change(client_id, may_read_all_clients=may_read_all_clients, actor=ACTOR))
    show(asdict(changed), as_json, _COLUMNS)


@commands.command("rotate-secret")
def rotate(
    client_id: ClientId,
    overlap_seconds: Annotated[
        int, typer.Option(min=0, max=MAX_OVERLAP_SECONDS, help="How long the present secrets stay good.")
    ] = DEFAULT_OVERLAP_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Make a new secret and show it, this once; all present ones get an end."""
    overlap = timedelta(seconds=overlap_seconds)
    issued = run_with_pool(
        DatabaseSettings,
        lambda pool: ChangeSecrets(pool).rotate_all(client_id, overlap=overlap, actor=ACTOR),
        command=_COMMAND,
    )
    show_secret(issued, as_json)


def _read_standard_input() -> str:
    # Somebody who types ends a line; a pipe is read to its end, so that a second line is not passed over.
    given = sys.stdin.buffer
    return read_secret(given.readline() if given.isatty() else given.read(), "standard input")


def _set_disabled(client_id: str, disabled: bool, as_json: bool) -> None:
    _run(lambda clients: clients.change(client_id, disabled=disabled, actor=ACTOR))
    told = f"{client_id} is {'disabled' if disabled else 'enabled'}"
    show_done(told, {"client_id": client_id, "disabled": disabled}, as_json)


def _run(work: Callable[[RegisterClients], Awaitable[Result]]) -> Result:
    return run_with_pool(DatabaseSettings, lambda pool: work(RegisterClients(pool)), command=_COMMAND)
