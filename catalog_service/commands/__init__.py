"""The operators' command line: what has no public call."""

from collections.abc import Sequence

import asyncpg
import psycopg
import typer

from catalog_service.commands import clients, keys, plans, process
from catalog_service.errors import OperatorError
from service_chassis.settings import InvalidSettings

commands = typer.Typer(
    help="Clients, plans and signing keys of the catalog. Settings come from the environment (CATALOG_...).",
    add_completion=False,
    pretty_exceptions_enable=False,
)
commands.add_typer(clients.commands, name="clients")
commands.add_typer(plans.commands, name="plans")
commands.add_typer(keys.commands, name="keys")
commands.command("migrate")(process.migrate)
commands.command("serve")(process.serve)


@commands.callback(invoke_without_command=True)
def serve_unless_told(context: typer.Context) -> None:
    """Clients, plans and signing keys of the catalog; without a command: serve."""
    if context.invoked_subcommand is None:
        process.serve()


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 when it worked, 1 with one line on stderr when not, 2 for wrong usage."""
    try:
        commands(args=arguments, prog_name="python -m catalog_service")
    except (OperatorError, InvalidSettings) as error:
        raise SystemExit(f"catalog_service: {error}") from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, psycopg.Error) as error:
        first_line = str(error).partition("\n")[0]
        raise SystemExit(f"catalog_service: {type(error).__name__}: {first_line}") from None
