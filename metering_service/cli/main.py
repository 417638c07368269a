"""The command line: `serve` unless told otherwise, `migrate`, and the groups of commands."""

from collections.abc import Sequence

from metering_service.cli import accounts, credits, export, look, policies, users, webhooks
from metering_service.cli.audit import audit
from metering_service.components import SCHEMA
from metering_service.settings import DatabaseSettings, MeteringSettings
from service_chassis.cli.admin_audit import add_admin_audit
from service_chassis.cli.commands import AsJson, Workers, create_commands, migrate_and_show, run_commands


def serve(workers: Workers = None) -> None:
    """Serve the API until SIGTERM or SIGINT."""
    # Here and not above: the other commands should not wait for all of a web server to be imported.
    from metering_service.app import create_app
    from service_chassis.cli.serve import serve_app

    serve_app("metering_service", MeteringSettings, create_app, workers)


def migrate(as_json: AsJson = False) -> None:
    """Bring the database to this version's schema."""
    migrate_and_show(DatabaseSettings, SCHEMA, as_json)


commands = create_commands("Policies, credits and the ledger of metering.", serve, migrate)
commands.command("audit")(audit)
add_admin_audit(commands, DatabaseSettings, "metering_service")
commands.add_typer(accounts.commands)
commands.add_typer(credits.commands)
commands.add_typer(look.commands)
commands.add_typer(export.commands, name="export")
commands.add_typer(policies.commands, name="policies")
commands.add_typer(users.commands, name="users")
commands.add_typer(webhooks.commands, name="webhooks")


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    run_commands(commands, "metering_service", arguments)
