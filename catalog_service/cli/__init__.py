"""The operators' command line: what has no public call."""

from collections.abc import Sequence

import typer

from catalog_service.cli import clients, keys, plans, process
from service_chassis.cli.commands import run_commands

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
    run_commands(commands, "catalog_service", arguments)
