"""PostgreSQL pools with every wait bounded."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg

from service_chassis.database.session import (
    SessionNotAsAsked,
    connect_as,
    require_as_asked,
    require_followed_statements,
)
from service_chassis.database.turns import PoolMetrics, Turns
from service_chassis.database.url import as_asyncpg_url

CONNECT_TIMEOUT_SECONDS = 2.0
ACQUIRE_TIMEOUT_SECONDS = 2.0
"""How long a request waits for a connection of its pool, unless the pool was made with another bound."""
COMMAND_TIMEOUT_SECONDS = 5.0
"""The client's own bound on one statement; the server's are a little shorter, so that it ends the work itself."""
CLOSE_TIMEOUT_SECONDS = 3.0
"""How long a pool waits for the statements under way when it is closed; then their connections are cut."""

_SERVER_SETTINGS = {
    "statement_timeout": "4000",
    "lock_timeout": "3000",
    "idle_in_transaction_session_timeout": "10000",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",  # what a lock guards is read anew once it is had
    "row_security": "on",
    "jit": "off",  # statements are small and prepared once: compiling them costs more than it saves
}

DATABASE_FAULTS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises: of a server that is away, that refuses, or that is not what was asked for."""

_CHANGED_SERVER = (
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.DatabaseDroppedError,
    asyncpg.IdleSessionTimeoutError,
)
"""What a server says that was demoted or goes: a session with it is of no use, and a busy one would stay for ever."""

_OF_LOST_STATEMENTS = (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError)
_UNLIKE_A_SESSION = (asyncpg.ProtocolViolationError, *_OF_LOST_STATEMENTS)
"""What comes of a session that is not one session with one server."""
POOLER_IN_THE_WAY = (
    "a connection pooler in front of the database changes servers between statements, or refuses what a session "
    "begins with; connect to the database itself, or serve as docs/operations/deployment.md says of poolers"
)
_KEPT_BY_POOLERS = ("application_name", "timezone")
"""Server settings that a pooler takes of each of its clients, and sets at whatever session it hands out."""

UNHURRIED: Mapping[str, str] = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
"""Server settings of a connection for an operator's long work, whose every statement its caller bounds."""
OPERATOR_TIMEOUT_SECONDS = 600.0
"""For a statement that looks for one user in tables without an index for it."""

_MAX_QUERIES = 50_000
_MAX_IDLE_SECONDS = 300.0
"""After so many statements, or so long unused, a connection is replaced: asyncpg's own figures."""


class FairPool(asyncpg.Pool):  # type: ignore[misc]  # asyncpg has no types
    """asyncpg's pool, first come, first served, and with a bound on every wait for a connection.

    asyncpg hands a connection that comes free to whoever asks at that moment, and sends the one that it was meant for
    to the end of the line: with all connections in use some wait for seconds while most wait for milliseconds.
    """

    def __init__(
        self,
        *arguments: Any,
        max_size: int,
        acquire_seconds: float,
        work_seconds: float | None,
        is_behind_pooler: bool,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, max_size=max_size, **options)
        self.turns = Turns(max_size)
        # By a ProtocolViolationError a pooler that is expected says that it lost a server, and ends the session.
        self.unlike_a_session = _OF_LOST_STATEMENTS if is_behind_pooler else _UNLIKE_A_SESSION
        self._acquire_seconds = acquire_seconds
        self._work_seconds = work_seconds

    def acquire(
        self, *, timeout: float | None = None, work_seconds: float | None = None, client_id: str = ""
    ) -> "_Turn":
        """Lend one to a client, '' for nobody, within `timeout` seconds, twice that where one has to be opened.

        Raises TimeoutError, with `work_seconds` also in whoever uses it for longer, the wait included.
        """
        seconds = self._acquire_seconds if timeout is None else timeout
        work = self._work_seconds if work_seconds is None else work_seconds
        return _Turn(self, super().acquire(timeout=seconds), seconds, work, client_id)


def _hear(done: asyncio.Future[Any]) -> None:
    """Take note of how a task ended, so that none counts as lost; a session that failed is gone either way."""
    if not done.cancelled():
        done.exception()


class _Turn:
    """One use of a connection, once it is its turn. A session with a server that has changed is cut at its end."""

    __slots__ = ("_connection", "_lent", "_share", "_timeout_seconds", "_turns", "_unlike_a_session", "_work")

    def __init__(
        self,
        pool: FairPool,
        lent: AbstractAsyncContextManager[asyncpg.Connection],
        timeout_seconds: float,
        work_seconds: float | None,
        client_id: str,
    ) -> None:
        self._turns = pool.turns
        self._share = pool.turns.share_of(client_id)
        self._unlike_a_session = pool.unlike_a_session
        self._lent = lent
        self._timeout_seconds = timeout_seconds
        self._work = asyncio.timeout(work_seconds)

    async def __aenter__(self) -> asyncpg.Connection:
        await self._work.__aenter__()
        try:
            await self._turns.take(self._timeout_seconds, self._share)
            try:
                self._connection = await self._lent.__aenter__()
                return self._connection
            except BaseException:
                self._turns.give_back(self._share)
                raise
        except BaseException as error:
            await self._work.__aexit__(type(error), error, error.__traceback__)
            self._tell_of_a_pooler(error)
            raise

    async def __aexit__(self, *fault: Any) -> None:
        if isinstance(fault[1], _CHANGED_SERVER):
            self._connection.terminate()
        try:
            # Without a fault there is nothing to wait for, and this is on every request's way.
            await (self._lent.__aexit__(*fault) if fault[1] is None else self._give_back(*fault))
        finally:
            self._turns.give_back(self._share)
            await self._work.__aexit__(*fault)
        self._tell_of_a_pooler(fault[1])

    async def _give_back(self, *fault: Any) -> None:
        """Wait until the server has given a statement up; should the caller be cancelled meanwhile, it goes on."""
        giving = asyncio.ensure_future(self._lent.__aexit__(*fault))
        giving.add_done_callback(_hear)
        await asyncio.shield(giving)

    def _tell_of_a_pooler(self, error: BaseException | None) -> None:
        if isinstance(error, self._unlike_a_session):
            # asyncpg goes on with advice to programmers.
            raise SessionNotAsAsked(f"{POOLER_IN_THE_WAY} ({str(error).partition(chr(10))[0]})") from error


@asynccontextmanager
async def open_pool(
    dsn: str,
    *,
    size: int,
    application_name: str,
    settings: Mapping[str, str] | None = None,
    role: str = "",
    acquire_seconds: float = ACQUIRE_TIMEOUT_SECONDS,
    work_seconds: float | None = None,
    is_behind_pooler: bool = False,
    name: str = "",
    metrics: PoolMetrics | None = None,
) -> AsyncIterator[asyncpg.Pool]:
    """Lend a pool of up to `size` connections, closed at the end within `CLOSE_TIMEOUT_SECONDS`.

    None is opened yet, so a service starts while its database is down. Statements end after 4 s, lock waits after
    3 s, idle transactions after 10 s, on the server's side, unless `settings`, the server's own parameters by name,
    say otherwise. With a `role`, each connection acts as that one instead of the one that it logs in as. Role and
    settings are what a connection begins with; with `is_behind_pooler` they come with the login. One that lacks any
    raises SessionNotAsAsked. Waits for a connection end after `acquire_seconds`, and a use of one after
    `work_seconds`, if given. `metrics` count it, as the pool `name`.
    """
    settings = {**_SERVER_SETTINGS, **({"role": role} if role else {}), **(settings or {})}
    begins_with = {"application_name": application_name, **settings}
    if is_behind_pooler:
        begins_with = {setting: begins_with[setting] for setting in _KEPT_BY_POOLERS}

    async def require_settings(connection: asyncpg.Connection) -> None:
        if is_behind_pooler:
            await require_followed_statements(connection)
        await require_as_asked(connection, settings)

    pool = await FairPool(
        as_asyncpg_url(dsn),
        connect=connect_as(role),
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
        loop=None,
        min_size=0,
        max_size=size,
        max_queries=_MAX_QUERIES,
        max_inactive_connection_lifetime=_MAX_IDLE_SECONDS,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        acquire_seconds=acquire_seconds,
        work_seconds=work_seconds,
        is_behind_pooler=is_behind_pooler,
        server_settings=begins_with,
        init=require_settings,
        reset=_keep_session,
    )
    if metrics is not None:
        metrics.watch(pool.turns, name)
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await pool.close()
        except DATABASE_FAULTS:
            pool.terminate()


async def _keep_session(_: asyncpg.Connection) -> None:
    """Save asyncpg's reset query, a round trip per use: no statement here leaves state in its session."""


@asynccontextmanager
async def open_snapshot(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    """Lend a connection in a read-only transaction whose every statement sees the same moment."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        yield connection


_IS_READ_ONLY = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean"


async def check_postgres(pool: asyncpg.Pool) -> None:
    """Raise unless the database answers and takes writes, in a new session where the one that there is does not."""
    for _ in range(2):
        async with pool.acquire(timeout=1) as connection:
            if not await connection.fetchval(_IS_READ_ONLY):
                return
            connection.terminate()
    raise asyncpg.ReadOnlySQLTransactionError("the database takes no writes")


def count_changed(status: str) -> int:
    """Return how many rows a statement changed, from what `execute` returned about it."""
    return int(status.rpartition(" ")[2])
