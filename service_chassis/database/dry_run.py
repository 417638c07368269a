"""A transaction that may be a dry run: refused as the real one would be, and taken back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg


class _TakenBack(Exception):
    """A dry run has come to its end."""


@asynccontextmanager
async def open_transaction(connection: asyncpg.Connection, *, dry_run: bool) -> AsyncIterator[None]:
    """Begin a transaction that is committed at the end, or taken back for a `dry_run`, as for an error."""
    with suppress(_TakenBack):
        async with connection.transaction():
            yield
            if dry_run:
                raise _TakenBack
