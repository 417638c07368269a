"""The service's command line: `serve` unless told otherwise."""

import sys
from typing import Annotated, NoReturn, TypeVar

import asyncpg
import orjson
import psycopg
import typer

from activity_service import MIGRATIONS
from activity_service.billing_commands import billing
from activity_service.settings import ActivitySettings, DatabaseSettings
from service_chassis.json_logging import configure_logging
from service_chassis.migrations import apply_migrations
from service_chassis.settings import InvalidSettings, read_settings

Settings = TypeVar("Settings")

application = typer.Typer(
    help="Plan plays, and their side of billing.", add_completion=False, pretty_exceptions_enable=False
)
application.add_typer(billing, name="billing")


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
def migrate(as_json: Annotated[bool, typer.Option("--json", help="Answer for programs.")] = False) -> None:
    """Bring the database to the present schema."""
    applied = apply_migrations(read_settings(DatabaseSettings).postgres_dsn, MIGRATIONS)
    if as_json:
        typer.echo(orjson.dumps({"applied": applied}))
    else:
        typer.echo("applied: " + ", ".join(applied) if applied else "nothing to do")


def run_command_line(arguments: list[str] | None = None) -> None:
    """Run it, with the process's own arguments unless given others, and exit.

    An operator's error is one line on standard error and exit code 1.
    """
    try:
        application(arguments)
    except InvalidSettings as error:
        _fail(str(error))
    except (OSError, psycopg.Error, asyncpg.PostgresError, asyncpg.InterfaceError, KeyError) as error:
        _fail(f"{type(error).__name__}: {' '.join(str(error).split())}")


def _fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(1)
