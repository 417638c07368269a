"""A transaction that may be a dry run: refused as the real one would be, and taken back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg


@asynccontextmanager
async def open_transaction(connection: asyncpg.Connection, *, dry_run: bool) -> AsyncIterator[None]:
    """Begin a transaction that is committed at the end, or taken back for a `dry_run`, as for an error."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    except BaseException:
        await transaction.rollback()
        raise
    if dry_run:
        await transaction.rollback()
    else:
        await transaction.commit()
