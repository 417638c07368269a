"""Serve an application on a port: every wait of every connection bounded, every refusal in the API's own shape."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web

from service_chassis.http.bounds import DEADLINES, DEFAULT_BOUNDS, HttpBounds
from service_chassis.http.connection import Connection, ServerContext
from service_chassis.http.error_rendering import RenderError, describe_http_exception
from service_chassis.operations.metrics import Metrics

_RequestHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_log = structlog.get_logger(__name__)

BACKLOG = 1024
"""Connections that wait to be taken in by a busy process."""
SHUTDOWN_TIMEOUT_SECONDS = 10.0
"""How long requests under way may take to finish after SIGTERM."""
ARRIVAL_SECONDS = 2.0
"""How much of that the rest of one that has begun to come may take to arrive."""
_ARRIVAL_CHECK_SECONDS = 0.02
_OTHER_DESCRIPTORS = 256
"""Left free below the limit on open files: pools, logs, outgoing calls."""


class HttpServer:
    """One application on one address."""

    def __init__(
        self,
        app: web.Application,
        *,
        render_error: RenderError,
        bounds: HttpBounds = DEFAULT_BOUNDS,
        metrics: Metrics | None = None,
        listener: str = "",
    ) -> None:
        """`listener` is what `metrics` call it."""
        self.app = app
        self._deadlines = app.get(DEADLINES)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            # aiohttp waits for as long twice, before it ends what is left.
            shutdown_timeout=(SHUTDOWN_TIMEOUT_SECONDS - ARRIVAL_SECONDS) / 2,
            handler_cancellation=False,
        )
        room = min(bounds.connections, _allow_descriptors(bounds.connections + _OTHER_DESCRIPTORS))
        if listener and room < bounds.connections:
            _log.warning("few_connections", listener=listener, connections=room, wanted=bounds.connections)
        self._context = ServerContext(render_error, bounds, room, metrics, listener)
        self._listening: asyncio.Server | None = None
        self._watching: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def setup(self) -> None:
        """Start the application."""
        await self._runner.setup()

    async def listen(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Take connections; return the port. Raises OSError when it cannot be bound.

        With `reuse_port` other processes may listen there, too: the kernel spreads connections over them.
        """
        return await self._take_connections(host=host, port=port, reuse_port=reuse_port or None)

    async def listen_on(self, listening: socket.socket) -> int:
        """Take connections of a socket that listens already; return the port."""
        return await self._take_connections(sock=listening)

    async def _take_connections(self, **where: Any) -> int:
        server = self._runner.server
        assert server is not None  # noqa: S101 - set up
        context, loop = self._context, asyncio.get_running_loop()
        server.request_factory = _tell_connection(server.request_factory)
        server.request_handler = _render_http_exceptions(server.request_handler, context.render)
        if context.metrics is not None:
            context.metrics.connections.labels(context.listener).set_function(lambda: context.present)
        self._listening = await loop.create_server(
            lambda: Connection(server, context, loop), backlog=BACKLOG, **where
        )
        self._watching = asyncio.create_task(self._watch(server))
        return int(self._listening.sockets[0].getsockname()[1])

    def drain(self) -> None:
        """Let each response be the last of its connection from now on: whoever keeps one goes elsewhere, in peace."""
        self._context.is_draining = True

    async def close(self) -> None:
        """Take no more connections, let requests under way finish, close the rest and the application.

        A second call waits for what the first one does.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await self._closing

    async def _close(self) -> None:
        if self._listening is not None:
            self._listening.close()
        self.drain()
        await self._receive_rest()
        await self._runner.cleanup()
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching

    async def _receive_rest(self) -> None:
        """Wait until requests that have begun to come are here: as it closes, aiohttp takes nothing in any more."""
        server, clock = self._runner.server, asyncio.get_running_loop().time
        end = clock() + ARRIVAL_SECONDS
        while server and clock() < end and any(map(_is_receiving, server.connections)):  # noqa: ASYNC110 - rare
            await asyncio.sleep(_ARRIVAL_CHECK_SECONDS)

    async def _watch(self, server: web.Server) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._context.bounds.check_seconds)
            now = loop.time()
            if self._deadlines is not None:
                self._deadlines.enforce(now)
            for connection in server.connections:
                if isinstance(connection, Connection):
                    connection.enforce_bounds(now)


def _is_receiving(connection: object) -> bool:
    return isinstance(connection, Connection) and connection.is_receiving


def _tell_connection(make_request: Callable[..., Any]) -> Callable[..., Any]:
    def make(message, payload, protocol, writer, task):  # type: ignore[no-untyped-def]  # aiohttp's own types
        protocol.begin_request(payload)
        return make_request(message, payload, protocol, writer, task)

    return make


def _render_http_exceptions(handle: _RequestHandler, render: RenderError) -> _RequestHandler:
    """Render what aiohttp refuses before any middleware runs: an `Expect` it does not know."""

    async def handle_all(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handle(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return render(describe_http_exception(error))

    return handle_all


def _allow_descriptors(wanted: int) -> int:
    """Raise this process's limit on open files as far as it may go; return how many connections that leaves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(soft - _OTHER_DESCRIPTORS, 16)
