"""What every command does: work with a pool, show what came out."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

import asyncpg
import orjson
import typer
from rich.console import Console
from rich.table import Table

from catalog_service.settings import Settings
from service_chassis.postgres import create_pool
from service_chassis.settings import read_settings

Found = TypeVar("Found")

AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs instead of a table.")]
ClientId = Annotated[str, typer.Argument(metavar="ID", help="The client's id.")]


def run_with_pool(work: Callable[[asyncpg.Pool], Awaitable[Found]]) -> Found:
    """Do `work` with a pool on the catalog's database and answer what it does."""
    settings = read_settings(Settings)

    async def with_pool() -> Found:
        pool = await create_pool(settings.postgres_dsn, size=1, application_name="catalog_service command")
        try:
            return await work(pool)
        finally:
            await pool.close()

    return asyncio.run(with_pool())


def show_json(document: Any) -> None:
    """Print `document`, moments as ISO 8601 with `Z`."""
    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode())


def show_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print `rows` under the headings of `columns`."""
    table = Table()
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in columns))
    Console().print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)
