"""Write a client's ledger or usage to standard output, as spreadsheets and programs read it."""

import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import asyncpg
import typer

from metering_service.cli.identifier import ClientId, FromDay, ToDay, read_day
from metering_service.cli.run import run
from metering_service.exports.export import LEDGER_COLUMNS, USAGE_COLUMNS, stream_ledger, stream_usage
from service_chassis.cli.usage import Commands
from service_chassis.database.pool import UNHURRIED
from service_chassis.rows import Batches, RowFormat, RowWriter

commands = Commands(help="Write a client's ledger or usage as CSV or NDJSON.", no_args_is_help=True)

_TOLD_EVERY = 100_000

AsFormat = Annotated[RowFormat, typer.Option("--format", help="csv (RFC 4180) or ndjson, a JSON object a line.")]


@commands.command("ledger")
def ledger(
    client_id: ClientId,
    after: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Begin after this entryId: the last one you have.")
    ] = 0,
    form: AsFormat = RowFormat.CSV,
) -> None:
    """Write the lines of a client's ledger to standard output, oldest first, in constant memory."""
    _write(lambda pool: stream_ledger(pool, client_id, after), LEDGER_COLUMNS, form)


@commands.command("usage")
def usage(
    client_id: ClientId,
    from_day: FromDay = None,
    to_day: ToDay = None,
    form: AsFormat = RowFormat.CSV,
) -> None:
    """Write a client's usage to standard output, a line for each day and event type."""
    begin, end = read_day(from_day), read_day(to_day)
    _write(lambda pool: stream_usage(pool, client_id, begin, end), USAGE_COLUMNS, form)


def _write(read: Callable[[asyncpg.Pool], Batches], columns: Sequence[str], form: RowFormat) -> None:
    async def work(pool: asyncpg.Pool) -> int:
        writer = RowWriter(form, columns)
        head, count, told = writer.head, 0, 0
        async for batch in read(pool):
            sys.stdout.buffer.write(head + writer.write(batch))
            head = b""
            count += len(batch)
            if count - told >= _TOLD_EVERY:
                typer.echo(f"{count:,} lines", err=True)
                told = count
        return count

    count = run(work, command="export", settings=UNHURRIED)
    sys.stdout.buffer.flush()
    typer.echo(f"{count:,} lines, all there are", err=True)
