"""Write a client's ledger or usage to a file, as spreadsheets and programs read it."""

import csv
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import asyncpg
import orjson
import typer

from metering_service.accounts.administer import AdministerAccounts
from metering_service.cli.identifier import ClientId, FromDay, ToDay, read_day
from metering_service.settings import DatabaseSettings
from metering_service.usage.read import ReadUsage
from service_chassis.cli.commands import run_with_pool
from service_chassis.cli.usage import Commands
from service_chassis.database.pool import UNHURRIED

commands = Commands(help="Write a client's ledger or usage as CSV or NDJSON.", no_args_is_help=True)

_TOLD_EVERY = 100_000
_LEDGER_COLUMNS = (
    *("entryId", "at", "kind", "credits", "day", "eventType", "eventId", "userId", "units", "late"),
    *("reference", "source", "note"),
)
_USAGE_COLUMNS = ("window", "eventType", "charged", "units", "credits", "overage")


class Format(StrEnum):
    """How lines are written."""

    CSV = "csv"
    NDJSON = "ndjson"


AsFormat = Annotated[Format, typer.Option("--format", help="csv (RFC 4180) or ndjson, a JSON object a line.")]
Rows = AsyncIterator[Mapping[str, Any]]


@commands.command("ledger")
def ledger(client_id: ClientId, form: AsFormat = Format.CSV) -> None:
    """Write every line of a client's ledger to standard output, oldest first, in constant memory.

    Lines of one client become visible in the order of their numbers, so none that commits meanwhile is skipped.
    """

    async def read(pool: asyncpg.Pool) -> Rows:
        async for entry in AdministerAccounts(pool).stream_entries(client_id):
            yield entry.as_document()

    _write(client_id, read, _LEDGER_COLUMNS, form)


@commands.command("usage")
def usage(
    client_id: ClientId,
    from_day: FromDay = None,
    to_day: ToDay = None,
    form: AsFormat = Format.CSV,
) -> None:
    """Write a client's usage to standard output, a line for each day and event type."""

    async def read(pool: asyncpg.Pool) -> Rows:
        found = await ReadUsage(pool).fetch(client_id, read_day(from_day), read_day(to_day))
        for each in found.sums:
            yield each.as_document("eventType")

    _write(client_id, read, _USAGE_COLUMNS, form)


def _write(client_id: str, read: Callable[[asyncpg.Pool], Rows], columns: Sequence[str], form: Format) -> None:
    async def work(pool: asyncpg.Pool) -> int:
        await AdministerAccounts(pool).require_known(client_id)
        write = _start_csv(columns) if form is Format.CSV else _write_json
        count = 0
        async for row in read(pool):
            write(row)
            count += 1
            if count % _TOLD_EVERY == 0:
                typer.echo(f"{count:,} lines", err=True)
        return count

    count = run_with_pool(DatabaseSettings, work, command="metering_service export", settings=UNHURRIED)
    typer.echo(f"{count:,} lines, all there are", err=True)


def _start_csv(columns: Sequence[str]) -> Callable[[Mapping[str, Any]], None]:
    """Write the headings, and return what writes a row."""
    writer = csv.writer(sys.stdout, lineterminator="\r\n")
    writer.writerow(columns)
    return lambda row: writer.writerow([_as_text(row.get(column)) for column in columns])


def _as_text(value: Any) -> Any:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def _write_json(row: Mapping[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(row, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE).decode())
