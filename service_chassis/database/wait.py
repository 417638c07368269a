"""At the start: wait for a database that is not there yet, since whatever starts all of it starts it at once."""

import asyncio
from contextlib import suppress

import asyncpg
import structlog

from service_chassis.database.pool import CONNECT_TIMEOUT_SECONDS
from service_chassis.database.url import as_asyncpg_url
from service_chassis.operations.health import explain

POLL_SECONDS = 0.5

_log = structlog.get_logger(__name__)


async def wait_for_database(dsn: str, stop: asyncio.Event) -> None:
    """Return once the server of `dsn` takes or refuses a connection, or `stop` is set; log once why it waits.

    Whatever a server says but that it is starting is no reason to wait: readiness tells it.
    """
    is_told = False
    while not stop.is_set():
        try:
            connection = await asyncpg.connect(as_asyncpg_url(dsn), timeout=CONNECT_TIMEOUT_SECONDS)
            await connection.close()
            return
        except (OSError, asyncpg.CannotConnectNowError) as error:
            if not is_told:
                _log.warning("waiting_for_database", why=explain(error))
                is_told = True
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), POLL_SECONDS)
