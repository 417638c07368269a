"""The service's command line: `serve` unless told otherwise."""

from collections.abc import Sequence

import typer

from activity_service import MIGRATIONS
from activity_service.cli.audit import audit
from activity_service.cli.billing import billing
from activity_service.cli.users import users
from activity_service.settings import ActivitySettings, DatabaseSettings
from service_chassis.cli.commands import AsJson, migrate_and_show, run_commands
from service_chassis.operations.logging import configure_logging
from service_chassis.settings import read_settings

application = typer.Typer(
    help="Plan plays, and their side of billing.", add_completion=False, pretty_exceptions_enable=False
)
application.add_typer(billing, name="billing")
application.add_typer(users, name="users")
application.command()(audit)


@application.callback(invoke_without_command=True)
def choose(context: typer.Context) -> None:
    """Plan plays, and their side of billing. Without a command: serve."""
    if context.invoked_subcommand is None:
        serve()


@application.command()
def serve() -> None:
    """Answer requests until SIGTERM or SIGINT."""
    # Here and not above: the other commands should not wait for all of a web server to be imported.
    import stamina.instrumentation

    from activity_service.app import create_app
    from service_chassis.application import run

    settings = read_settings(ActivitySettings)
    configure_logging(settings.log_level, "activity_service")
    # Its own line about each retry quotes the error's text; failures are counted and logged here.
    stamina.instrumentation.set_on_retry_hooks([])
    run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        ops_host=settings.ops_host,
        ops_port=settings.ops_port,
    )


@application.command()
def migrate(as_json: AsJson = False) -> None:
    """Bring the database to this version's schema."""
    migrate_and_show(read_settings(DatabaseSettings).postgres_dsn, MIGRATIONS, as_json)


def run_command_line(arguments: Sequence[str] | None = None) -> None:
    """Run it and exit; an operator's error is one line on standard error and exit code 1."""
    run_commands(application, "activity_service", arguments)
