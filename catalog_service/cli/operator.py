"""What every command of the catalog does: work with a pool on its database."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import asyncpg
import typer

from catalog_service.settings import DatabaseSettings
from service_chassis.cli import commands as operator_commands
from service_chassis.settings import read_settings

Found = TypeVar("Found")

ClientId = Annotated[str, typer.Argument(metavar="ID", help="The client's id.")]


def run_with_pool(work: Callable[[asyncpg.Pool], Awaitable[Found]]) -> Found:
    """Do `work` with a pool on the catalog's database and answer what it does."""
    dsn = read_settings(DatabaseSettings).postgres_dsn
    return operator_commands.run_with_pool(dsn, work, application_name="catalog_service command")
