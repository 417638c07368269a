"""The command line of `python -m local_stack`."""

import os
from contextlib import suppress

import typer

from local_stack.errors import StackError
from local_stack.run_stack import StopRequested, run_stack

application = typer.Typer(add_completion=False, rich_markup_mode=None)


@application.command()
def run() -> None:
    """Start PostgreSQL, Valkey and the three services with demo data, and stay until Ctrl-C.

    Settings are environment variables.

    STACK_DIR: where data, logs and stack.json live (.local).

    STACK_PORT_BASE: the first of 10 ports, all on 127.0.0.1 (8081): catalog, activity, metering, their three
    operations ports, administration of catalog and metering, PostgreSQL, Valkey.

    POSTGRES_DSN: URL of an existing server to use instead of the embedded one; it may create databases there.

    REDIS_URL: an existing Redis or Valkey to use instead of the embedded one.

    Every CATALOG_..., ACTIVITY_... and METERING_... variable is passed on to its service and wins over the stack's.
    """
    try:
        run_stack(os.environ, report)
    except StopRequested:
        report("stopped")
    except StackError as error:
        typer.echo(f"local stack: {error}", err=True)
        raise typer.Exit(1) from None


def report(line: str) -> None:
    """Print one line of progress, if anybody still listens: a closed terminal must not keep things from stopping."""
    with suppress(OSError):
        typer.echo(line)
