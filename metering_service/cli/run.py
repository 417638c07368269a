"""Do an operator's work on metering's database."""

from collections.abc import Awaitable, Callable, Mapping

import asyncpg

from metering_service.accounts.ledger_store import LedgerStore
from metering_service.settings import DatabaseSettings
from service_chassis.cli.commands import Result, run_with_pool


def run(
    work: Callable[[asyncpg.Pool], Awaitable[Result]],
    *,
    command: str = "command",
    settings: Mapping[str, str] | None = None,
) -> Result:
    """Return what `work` returns, whose connection is named by the `command` in the server's own lists."""
    return run_with_pool(DatabaseSettings, work, command=f"metering_service {command}", settings=settings)


def run_about(client_id: str, work: Callable[[asyncpg.Pool], Awaitable[Result]]) -> Result:
    """Return what `work` returns about a client. Raises ClientNotFound for one that nobody ever named."""

    async def work_if_known(pool: asyncpg.Pool) -> Result:
        await LedgerStore(pool).require_known(client_id)
        return await work(pool)

    return run(work_if_known)
