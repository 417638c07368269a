"""What every service's command line does: serve, migrate, work with a pool, print what came out, fail in one line."""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import asyncpg
import orjson
import psycopg
import typer
from yoyo.exceptions import BadMigration, MigrationConflict

from service_chassis.cli.columns import print_columns
from service_chassis.cli.usage import Commands, describe_usage, in_one_line
from service_chassis.database.migrations import AnothersDatabase, Schema, apply_schema
from service_chassis.database.pool import CONNECT_TIMEOUT_SECONDS, DATABASE_FAULTS, POOLER_IN_THE_WAY, open_pool
from service_chassis.database.url import as_asyncpg_url, ignore_what_one_library_reads
from service_chassis.database.wait import WRONG_OPTIONS
from service_chassis.errors import OperatorError, ServiceError, say
from service_chassis.operations.logging import drop_unwritten
from service_chassis.process_settings import DatabaseSettings
from service_chassis.settings import InvalidSettings, read_settings
from service_chassis.version import VERSION

AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs instead of columns.")]
OfClient = Annotated[str, typer.Option("--client", help="The client whose user it is.")]
OfUser = Annotated[str, typer.Option("--user", help="The user's id, as in `userId`.")]
Sure = Annotated[bool, typer.Option("--yes", help="Do not ask: it cannot be undone.")]


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(VERSION)
        raise typer.Exit


Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=64, help="Processes that share the port; otherwise what the setting says."),
]
Version = Annotated[
    bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
]

Result = TypeVar("Result")
Rows = Mapping[str, Any] | Sequence[Mapping[str, Any]]

NO_VERDICT = 3
"""Exit code of an audit that could not look: neither sound nor, as 1 would say, a violation."""

_FAULTS = (
    *DATABASE_FAULTS,
    psycopg.Error,
    AnothersDatabase,
    BadMigration,
    MigrationConflict,
    ValueError,
    OverflowError,
)
_TOLD = (OperatorError, InvalidSettings, ServiceError)
"""Whose own words an operator is told."""


class NoVerdict(OperatorError):
    """An audit could not be carried out, for its cause; nothing is known about what it looks at."""


def create_commands(summary: str, serve: Callable[[], None], migrate: Callable[..., None]) -> Commands:
    """Make the command line that every service has; without a command it serves."""
    commands = Commands(help=summary, add_completion=False, pretty_exceptions_enable=False)
    commands.command("serve")(serve)
    commands.command("migrate")(migrate)

    @commands.callback(invoke_without_command=True, help=f"{summary} Without a command: serve.")
    def choose(context: typer.Context, version: Version = False) -> None:
        if context.invoked_subcommand is None:
            serve()

    return commands


def run_commands(commands: typer.Typer, service: str, arguments: Sequence[str] | None = None) -> None:
    """Run a command line and exit: 0 when it worked, 1 with one line on stderr when not, 2 for wrong usage.

    An audit that cannot look exits with NO_VERDICT.
    """
    ignore_what_one_library_reads()
    try:
        code = commands(args=arguments, prog_name=f"python -m {service}", standalone_mode=False)
    except typer.TyperException as error:
        if told := describe_usage(error, service):
            typer.echo(told, err=True)
        raise SystemExit(error.exit_code) from None
    except typer.Abort:
        raise SystemExit(f"{service}: not done: it was not confirmed") from None
    except NoVerdict as error:
        typer.echo(f"{service}: no verdict: {_describe(error.__cause__, service)}", err=True)
        raise SystemExit(NO_VERDICT) from None
    except (*_TOLD, *_FAULTS) as error:
        raise SystemExit(f"{service}: {_describe(error, service)}") from None
    finally:
        # What could not be written was told above, or is a log's.
        drop_unwritten(sys.stdout)
    raise SystemExit(code)


@contextmanager
def audit_errors() -> Iterator[None]:
    """Raise NoVerdict for whatever keeps an audit from looking: settings, files, servers, other schemas."""
    try:
        yield
    except (*_TOLD, *_FAULTS) as error:
        raise NoVerdict from error


_IN_OUR_WORDS: Sequence[tuple[tuple[type[Exception], ...], str]] = (
    ((AnothersDatabase,), "{dsn} names the database of another service; nothing was changed"),
    (
        (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError),
        "the database of {dsn} is not this service's, or it is not migrated (run `migrate`)",
    ),
    (
        (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError),
        "the database does not accept the user or the password of {dsn}",
    ),
    (WRONG_OPTIONS, "the server does not take what the options of {dsn} ask for"),
    ((asyncpg.InvalidCatalogNameError,), "there is no database of the name in {dsn}"),
    (
        (asyncpg.InsufficientPrivilegeError, psycopg.errors.InsufficientPrivilege),
        "the user of {dsn} lacks a right in the database",
    ),
    (
        (asyncpg.ReadOnlySQLTransactionError, psycopg.errors.ReadOnlySqlTransaction),
        "the database takes no writes: it is a standby, or was demoted",
    ),
    ((asyncpg.TooManyConnectionsError,), "the database has no connection left"),
    ((asyncpg.TargetServerAttributeNotMatched,), "no server of {dsn} is one that its target_session_attrs asks for"),
    (
        (
            psycopg.errors.ProtocolViolation,
            psycopg.errors.DuplicatePreparedStatement,
            psycopg.errors.InvalidSqlStatementName,
        ),
        POOLER_IN_THE_WAY,
    ),
    ((TimeoutError,), "a server took too long to answer"),
    (
        (psycopg.OperationalError, asyncpg.CannotConnectNowError),
        "the database of {dsn} cannot be reached, or refuses the connection",
    ),
    ((ConnectionError, socket.gaierror), "a server cannot be reached"),
    ((OSError,), ""),
    # Its words may quote a part of what was given: of a database's URL, the password.
    ((ValueError, OverflowError), "a setting, an argument or a file cannot be used"),
)
"""What a library's error means, the first kind that fits."""


def _describe(error: BaseException | None, service: str) -> str:
    """Return one line about an error, which names the variables of `service`."""
    if isinstance(error, ServiceError):
        return in_one_line(say(error))  # it may repeat an argument
    if isinstance(error, _TOLD):
        return say(error)
    said = next((words for kinds, words in _IN_OUR_WORDS if isinstance(error, kinds)), type(error).__name__)
    is_silent = isinstance(error, ValueError | OverflowError)
    reason = type(error).__name__ if is_silent else str(error).partition("\n")[0] or type(error).__name__
    said = said.format(dsn=f"{service.removesuffix('_service').upper()}_POSTGRES_DSN")
    return f"{said} ({reason})" if said else reason


def run_with_pool(
    settings_class: type[DatabaseSettings],
    work: Callable[[asyncpg.Pool], Awaitable[Result]],
    *,
    command: str,
    settings: Mapping[str, str] | None = None,
    acts_as_role: bool = False,
    connections: int = 1,
) -> Result:
    """Do `work` with a pool of few connections, whose server `settings` differ as told, and return what it returns.

    `command` names the connection in the server's own lists. With `acts_as_role` row-level security holds for it, as
    for the service. Raises OperatorError where the database is away.
    """
    given = read_settings(settings_class)
    dsn, role = given.postgres_dsn, _name_role(given) if acts_as_role else ""

    async def with_pool() -> Result:
        async with open_pool(dsn, size=connections, application_name=command, settings=settings, role=role) as pool:
            # The work may speak to other servers, too: now it is plain which one is away.
            with _naming_the_database(settings_class):
                async with pool.acquire():
                    pass
            return await work(pool)

    return asyncio.run(with_pool())


def _name_role(settings: DatabaseSettings) -> str:
    """Return the role that the service acts as, of those that do."""
    return getattr(settings, "postgres_role", "")


@contextmanager
def _naming_the_database(settings_class: type[DatabaseSettings]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = str(error) or "no answer in time"
        raise OperatorError(
            f"the database of {settings_class.prefix}POSTGRES_DSN cannot be reached ({why})"
        ) from error


async def _require_database(settings_class: type[DatabaseSettings], dsn: str) -> None:
    with _naming_the_database(settings_class):
        connection = await asyncpg.connect(as_asyncpg_url(dsn), timeout=CONNECT_TIMEOUT_SECONDS)
        await connection.close()


def migrate_and_show(settings_class: type[DatabaseSettings], schema: Schema, as_json: bool) -> None:
    """Bring the service's database to `schema` and print what that took."""
    settings = read_settings(settings_class)
    # As all other commands connect: of a database that cannot be had they say the same.
    asyncio.run(_require_database(settings_class, settings.postgres_dsn))
    role = _name_role(settings)
    applied = apply_schema(settings.postgres_dsn, schema, lambda words: typer.echo(words, err=True), acting_role=role)
    told = "\n".join(f"applied {name}" for name in applied) or "nothing to apply"
    show_done(told, {"applied": applied}, as_json)


def show(found: Rows, as_json: bool, columns: Mapping[str, str] | Sequence[str] | None = None) -> None:
    """Print one row or several in columns, or as JSON. `columns` maps keys to headings; without it, all keys."""
    if as_json:
        show_json(found)
        return
    rows = [found] if isinstance(found, Mapping) else found
    if not rows:
        typer.echo("none")
        return
    keys: Sequence[str] = list(columns if columns is not None else rows[0])
    headings = list(columns.values()) if isinstance(columns, Mapping) else keys
    print_columns(headings, [[row.get(key) for key in keys] for row in rows])


def show_done(told: str, document: Any, as_json: bool) -> None:
    """Print what was done: as a person is told, or as JSON."""
    if as_json:
        show_json(document)
    else:
        typer.echo(told)


def show_json(document: Any) -> None:
    """Print `document`, moments as ISO 8601 with `Z`."""
    typer.echo(orjson.dumps(document, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode())
