"""What every operator's command does: work with a pool, show what came out, fail in one line."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import asyncpg
import orjson
import psycopg
import typer
from rich.console import Console
from rich.table import Table

from service_chassis.database.migrations import apply_migrations
from service_chassis.database.pool import create_pool
from service_chassis.errors import OperatorError, ServiceError
from service_chassis.settings import InvalidSettings

AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs instead of a table.")]
OfClient = Annotated[str, typer.Option("--client", help="The client whose user it is.")]
OfUser = Annotated[str, typer.Option("--user", help="The user's id, as in `userId`.")]
Sure = Annotated[bool, typer.Option("--yes", help="Do not ask: it cannot be undone.")]

Found = TypeVar("Found")

NO_VERDICT = 3
"""Exit code of an audit that could not look: neither sound nor, as 1 would say, a violation."""

_FAULTS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, psycopg.Error, ValueError, OverflowError)


class NoVerdict(OperatorError):
    """An audit could not be carried out; nothing is known about what it looks at."""


@contextmanager
def judging() -> Iterator[None]:
    """Raise NoVerdict for whatever keeps an audit from looking: settings, files, servers, other schemas."""
    try:
        yield
    except (OperatorError, InvalidSettings, ServiceError, UnicodeError) as error:
        raise NoVerdict(f"no verdict: {error}") from error
    except asyncpg.UndefinedTableError as error:
        raise NoVerdict(f"no verdict: not this service's database, or not migrated: {error}") from error
    except _FAULTS as error:
        raise NoVerdict(f"no verdict: {_describe(error)}") from error


def run_with_pool(
    dsn: str,
    work: Callable[[asyncpg.Pool], Awaitable[Found]],
    *,
    application_name: str,
    settings: Mapping[str, str] | None = None,
) -> Found:
    """Do `work` with a pool of one connection, whose server `settings` differ as told; answer what it answers."""

    async def with_pool() -> Found:
        pool = await create_pool(dsn, size=1, application_name=application_name, settings=settings)
        try:
            return await work(pool)
        finally:
            await pool.close()

    return asyncio.run(with_pool())


def migrate_and_show(dsn: str, directory: Path, as_json: bool) -> None:
    """Bring the database at `dsn` to the schema of `directory` and print what that took."""
    applied = apply_migrations(dsn, directory)
    if as_json:
        show_json({"applied": applied})
    else:
        typer.echo("\n".join(f"applied {name}" for name in applied) or "nothing to apply")


def show_json(document: Any) -> None:
    """Print `document`, moments as ISO 8601 with `Z`."""
    typer.echo(orjson.dumps(document, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode())


def show_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print `rows` under the headings of `columns`."""
    if not rows:
        typer.echo("none")
        return
    table = Table()
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    Console(markup=False).print(table)  # a bracket in a name or a note is no markup


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)


def run_commands(commands: typer.Typer, service: str, arguments: Sequence[str] | None = None) -> None:
    """Run a command line and exit: 0 when it worked, 1 with one line on stderr when not, 2 for wrong usage.

    An audit that cannot look exits with NO_VERDICT.
    """
    try:
        commands(args=arguments, prog_name=f"python -m {service}")
    except NoVerdict as error:
        typer.echo(f"{service}: {error}", err=True)
        raise SystemExit(NO_VERDICT) from None
    except (OperatorError, InvalidSettings, ServiceError) as error:
        _fail(service, str(error))
    except _FAULTS as error:
        _fail(service, _describe(error))


def _describe(error: Exception) -> str:
    if isinstance(error, ValueError | OverflowError):
        # Its words may quote a part of what was given: of a database's URL, the password.
        return f"a setting, an argument or a file cannot be used ({type(error).__name__})"
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _fail(service: str, text: str) -> NoReturn:
    raise SystemExit(f"{service}: {text}") from None
