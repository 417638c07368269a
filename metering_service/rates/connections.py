"""Connections to one server of request rates, kept open, and the script that is run over them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from hashlib import sha1
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import hiredis
import redis.exceptions
from redis.asyncio.connection import Connection, ConnectionPool

from metering_service.rates.outage import Outage

SCRIPT = (Path(__file__).parent / "gcra.lua").read_text()
SHA1 = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
CONNECTIONS = 2
"""As many as there are batches in flight: each batch has one for itself, and none waits."""
CONNECT_TIMEOUT_SECONDS = 2.0
RECONNECT_PAUSE_SECONDS = 0.2
"""Between two attempts at a connection. Requests pass unchecked meanwhile, and wait for none of it."""
SERVER_FAULTS = (redis.exceptions.RedisError, OSError)
"""What a server that is away, refuses or is not what was asked for raises; a TimeoutError is an OSError."""
NOT_LET_IN = (redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError)
"""Those that waiting does not change, at the start; later a password may be on its way to being changed."""

Result = TypeVar("Result")


class ScriptCall(NamedTuple):
    """What the script is called with: buckets, once each, and its arguments, as `gcra.lua` has them."""

    keys: Sequence[str]
    arguments: Sequence[Any]

    def as_command(self, *, by_text: bool = False) -> tuple[Any, ...]:
        """Return the call as a command, with the script's hash, or its text for a server that does not know it."""
        script = ("EVAL", SCRIPT) if by_text else ("EVALSHA", SHA1)
        return *script, len(self.keys), *self.keys, *self.arguments


class KeptConnections:
    """CONNECTIONS to one server, opened beside the requests, names resolved anew each time.

    Whatever a server that is away, was demoted or moved makes of one, a request waits for its answer until the
    moment that it was given, and then no other does. `prove` raises, or takes longer than `prove_seconds`, where a
    connection is of no use.
    """

    def __init__(
        self,
        factory: ConnectionPool,
        prove: Callable[[Connection], Awaitable[object]],
        outage: Outage,
        *,
        prove_seconds: float,
    ) -> None:
        # Used for what it makes of the URL: its connections are made one by one, and not lent.
        self._factory = factory
        self._prove = prove
        self._prove_seconds = prove_seconds
        self._outage = outage
        self._idle: list[Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._is_new = True
        self._is_closed = False

    @property
    def is_whole(self) -> bool:
        """Whether no connection is missing, be they idle or in use."""
        return not self._opening

    async def connect(self) -> None:
        """Open the connections; a server that is away now is tried again and again. Raises NOT_LET_IN."""
        for _ in range(CONNECTIONS):
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                    self._idle.append(await self._open())
            except NOT_LET_IN:
                raise
            except SERVER_FAULTS as error:
                self._outage.begin(error)
                self._open_soon()

    def connect_soon(self) -> None:
        """Open the connections beside the requests."""
        for _ in range(CONNECTIONS):
            self._open_soon()

    async def wait_once(self, until: float) -> None:
        """Wait until there are the first connections, or a moment of the loop's clock; never a second time."""
        if self._is_new and self._opening:
            await asyncio.wait(self._opening, timeout=until - asyncio.get_running_loop().time())
        self._is_new = False

    async def use(self, work: Callable[[Connection], Awaitable[Result]], until: float) -> Result | None:
        """Return what `work` makes of a connection before `until`, a moment of the loop's clock; None without one."""
        if not self._idle:
            return None
        connection = self._idle.pop()
        try:
            async with asyncio.timeout_at(until):
                result = await work(connection)
        except BaseException as error:
            # Whatever it was, READONLY of a demoted server or silence: the next one may be another server.
            await _drop(connection)
            self._open_soon()
            if not isinstance(error, SERVER_FAULTS):
                raise
            self._outage.begin(error)
            return None
        if self._is_closed:
            await _drop(connection)
        else:
            self._idle.append(connection)
        return result

    async def ask_apart(self, *command: Any) -> Any:
        """Return the server's answer to a command, over a connection made for it. Raises SERVER_FAULTS."""
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            connection = await self._open(is_proven=False)
            try:
                return await call(connection, *command)
            finally:
                await _drop(connection)

    async def _open(self, *, is_proven: bool = True) -> Connection:
        connection: Connection = self._factory.make_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            if is_proven:
                async with asyncio.timeout(self._prove_seconds):
                    await self._prove(connection)
        except BaseException:
            await _drop(connection)
            raise
        return connection

    def _open_soon(self) -> None:
        if self._is_closed:
            return
        if task := self._outage.mend(self._open_again()):
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open_again(self) -> None:
        """Try until there is a connection."""
        while True:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                    connection = await self._open()
                break
            except SERVER_FAULTS as error:
                self._outage.begin(error)
            await asyncio.sleep(RECONNECT_PAUSE_SECONDS)
        self._idle.append(connection)

    async def aclose(self) -> None:
        """Close all connections, those in use when they come back."""
        self._is_closed = True
        for task in tuple(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        while self._idle:
            await _drop(self._idle.pop())


async def call(connection: Connection, *command: Any) -> Any:
    """Return the answer to one command."""
    await connection.send_command(*command, check_health=False)
    return await connection.read_response()


async def run_script(connection: Connection, asked: ScriptCall) -> list[int]:
    """Return what the script returns."""
    try:
        # Not by `call`, which packs in Python at six times the cost: this is on every decision's way.
        packed = hiredis.pack_command(asked.as_command())
        await connection.send_packed_command(packed, check_health=False)
        numbers: list[int] = await connection.read_response()
    except redis.exceptions.NoScriptError:
        numbers = await call(connection, *asked.as_command(by_text=True))
    return numbers


async def _drop(connection: Connection) -> None:
    with suppress(*SERVER_FAULTS):
        await connection.disconnect(nowait=True)
