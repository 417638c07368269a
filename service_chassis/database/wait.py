"""At the start: wait for a database that is not there yet, since whatever starts all of it starts it at once."""

import asyncio
from contextlib import suppress

import asyncpg
import structlog

from service_chassis.database.pool import CONNECT_TIMEOUT_SECONDS
from service_chassis.database.url import as_asyncpg_url
from service_chassis.errors import OperatorError
from service_chassis.operations.health import explain

POLL_SECONDS = 0.5
_REFUSED = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)
WRONG_OPTIONS = (asyncpg.UndefinedObjectError, asyncpg.InvalidParameterValueError)
"""What a server says of a setting of the URL's options that it does not know, or not with that value."""
_NO_TLS = "rejected SSL upgrade"
"""What asyncpg says in a ConnectionError, the only sign of it there is."""

_log = structlog.get_logger(__name__)


async def wait_for_database(dsn: str, stop: asyncio.Event) -> None:
    """Return once the server of `dsn` takes a connection, or `stop` is set; log once why it waits.

    Whatever else a server says is told by readiness. Raises OperatorError, which leaves the variable's name to the
    caller, for a URL that no waiting makes good: its user, password or database is not there.
    """
    is_told = False
    while not stop.is_set():
        try:
            connection = await asyncpg.connect(as_asyncpg_url(dsn), timeout=CONNECT_TIMEOUT_SECONDS)
            await connection.close()
            return
        except _REFUSED as error:
            raise OperatorError("the server does not accept its user or password") from error
        except asyncpg.InvalidCatalogNameError as error:
            raise OperatorError("the server has no database of its name") from error
        except WRONG_OPTIONS as error:
            raise OperatorError("the server does not take what its options ask for") from error
        except (OSError, asyncpg.CannotConnectNowError) as error:
            if _NO_TLS in str(error):
                raise OperatorError("the server does not speak TLS, which its sslmode asks for") from error
            if not is_told:
                _log.warning("waiting_for_database", why=explain(error))
                is_told = True
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), POLL_SECONDS)
