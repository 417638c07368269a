"""The tables of billing in the caller's database: made by one call, or as SQL for its own migrations."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg

from metering_client.audit_store import AuditStore
from metering_client.event import Fact
from service_chassis.database.pool import open_snapshot

_DIRECTORY = Path(__file__).parent


def write_sql(facts: str | None = None, own: str = "") -> str:
    """Return the SQL that makes the tables; it may be run again.

    `facts` and `own` as in `create_tables`; without `facts`, an example.
    """
    tables, view = (_read(name) for name in ("tables", "facts"))
    return (
        tables
        + (own and f"{own.strip().rstrip(';')}\n;\n")
        + view.replace("{facts}", (facts or _read("example_facts")).strip().rstrip(";"))
    )


def _read(name: str) -> str:
    return (_DIRECTORY / f"{name}.sql").read_text()


async def create_tables(connection: asyncpg.Connection, *, facts: str, own: str = "") -> None:
    """Make what billing needs, where it is not there: all or nothing; harmless twice, at once too.

    `facts` is a SELECT over the caller's own rows, one row for each billable fact of this database: its event id (as
    `Hold.event_id`, with a unique index), client id, event type, user id or NULL, units, and when it happened. It
    replaces the query of the last call, so all that the database sells is in it. `own` is SQL that makes your own
    tables where they are not there. Alone, CREATE TABLE IF NOT EXISTS is an error in processes that start together.
    """
    async with connection.transaction():
        await connection.execute(write_sql(facts, own))


async def stream_facts(pool: asyncpg.Pool) -> AsyncIterator[Fact]:
    """Yield the facts that the view `billable_fact` says there are, sorted by event id, from one snapshot."""
    async with open_snapshot(pool) as connection:
        async for fact in AuditStore(connection).stream_facts():
            yield fact
