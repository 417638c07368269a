"""The command line: `serve` unless told otherwise, `migrate`, `audit`, and the groups of commands."""

from collections.abc import Sequence

from activity_service.cli import billing, users
from activity_service.cli.audit import audit
from activity_service.components import SCHEMA
from activity_service.settings import ActivitySettings, DatabaseSettings
from service_chassis.cli.admin_audit import add_admin_audit
from service_chassis.cli.commands import AsJson, Workers, create_commands, migrate_and_show, run_commands


def serve(workers: Workers = None) -> None:
    """Serve the API until SIGTERM or SIGINT."""
    # Here and not above: the other commands should not wait for all of a web server to be imported.
    from activity_service.app import create_app
    from service_chassis.cli.serve import serve_app

    serve_app("activity_service", ActivitySettings, create_app, workers)


def migrate(as_json: AsJson = False) -> None:
    """Bring the database to this version's schema."""
    migrate_and_show(DatabaseSettings, SCHEMA, as_json)


commands = create_commands("Plan plays, and their side of billing.", serve, migrate)
commands.command("audit")(audit)
add_admin_audit(commands, DatabaseSettings, "activity_service")
commands.add_typer(billing.commands, name="billing")
commands.add_typer(users.commands, name="users")


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    run_commands(commands, "activity_service", arguments)
