"""One stack of real processes for all rows of the crash table; each row is a client of its own."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest_asyncio

from prove.registration import register_clients
from tests.faults.campaign import remove
from tests.faults.crash_row import PAYING, CrashTable
from tests.faults.fault_stack import FaultStack

QUICK = {
    "ACTIVITY_RESOLVE_AFTER_SECONDS": "1",
    "ACTIVITY_SWEEP_INTERVAL_SECONDS": "0.1",
    "ACTIVITY_RELAY_POLL_SECONDS": "0.1",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crash_table() -> AsyncIterator[CrashTable]:
    """Start the stack; at the end the product's audits must find nothing in what all rows left behind."""
    directory = Path(tempfile.mkdtemp(prefix="crash-table-"))
    stack = FaultStack(directory, variables=QUICK)
    try:
        await stack.start()
        async with aiohttp.ClientSession() as session:
            table = CrashTable(stack, session, await register_clients(stack, PAYING))
            await table.set_up()
            yield table
    finally:
        await stack.stop()
        remove(directory)
