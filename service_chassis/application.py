"""Build a service's web application and run it as a process."""

import asyncio
import errno
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
import uvloop
from aiohttp import web

from service_chassis.database.wait import wait_for_database
from service_chassis.errors import OperatorError
from service_chassis.http.bounds import BOUNDS, DEADLINES, DEFAULT_BOUNDS, HandlerDeadlines, HttpBounds
from service_chassis.http.cors import cors_middleware, cors_signal
from service_chassis.http.error_rendering import RenderError, error_middleware
from service_chassis.http.json_response import SERVER_NAME
from service_chassis.http.request_context import context_middleware, send_request_id
from service_chassis.http.server import HttpServer
from service_chassis.operations.health import (
    FindNotReady,
    Readiness,
    RenderMetrics,
    create_operations_app,
    render_operations_error,
)
from service_chassis.operations.logging import log_access
from service_chassis.operations.metrics import Metrics
from service_chassis.process_settings import AdminSettings, ProcessSettings

READINESS = web.AppKey("readiness", Readiness)
METRICS = web.AppKey("metrics", Metrics)
ADMIN_SERVER = web.AppKey("admin_server", HttpServer)
_RENDER_ERROR = web.AppKey[RenderError]("render_error")

Components = TypeVar("Components")

_log = structlog.get_logger(__name__)


def create_web_app(
    *,
    render_error: RenderError,
    body_limit_bytes: int,
    bounds: HttpBounds = DEFAULT_BOUNDS,
    metrics: Metrics | None = None,
    cors_origins: Sequence[str] = (),
) -> web.Application:
    """Make an application with the frame that every service has: context, errors, bounds, metrics, readiness.

    `metrics` are those of another application of the same process, which counts what this one answers, too, and whose
    readiness is that of both. Pages of `cors_origins` may call it from a browser.
    """
    is_first = metrics is None
    metrics = metrics or Metrics()
    deadlines = HandlerDeadlines(bounds.handler_seconds)
    app = web.Application(
        middlewares=[
            context_middleware(metrics.observe_request, log_access),
            error_middleware(render_error),
            deadlines.middleware,
        ],
        client_max_size=body_limit_bytes,
    )
    app[METRICS] = metrics
    if is_first:
        failing = metrics.gauge(
            "readiness_failing", "Whether a condition of readiness failed when it was last asked.", ["check"]
        )
        app[READINESS] = Readiness(failing)
    app[BOUNDS] = bounds
    app[DEADLINES] = deadlines
    app[_RENDER_ERROR] = render_error
    if cors_origins:
        app.middlewares.insert(1, cors_middleware(cors_origins))
        app.on_response_prepare.append(cors_signal(cors_origins))
    # For streams and files: a JsonResponse writes these headers itself, and begins when its handler is done.
    app.on_response_prepare.extend((send_request_id, _name_server, deadlines.lift))
    return app


async def _name_server(_: web.Request, response: web.StreamResponse) -> None:
    """Say as little about the server as there is to say."""
    response.headers["Server"] = SERVER_NAME


def create_server(app: web.Application, listener: str = "api") -> HttpServer:
    """Make the server of an application that `create_web_app` made."""
    return HttpServer(
        app, render_error=app[_RENDER_ERROR], bounds=app[BOUNDS], metrics=app[METRICS], listener=listener
    )


def add_components(
    app: web.Application, key: web.AppKey[Components], opening: AbstractAsyncContextManager[Components]
) -> None:
    """Have `app` open its components when it starts, find them under `key`, and close them at its end."""

    async def live(_: web.Application) -> AsyncIterator[None]:
        async with opening as components:
            app[key] = components
            yield

    app.cleanup_ctx.append(live)


def add_admin_app(app: web.Application, admin_app: web.Application, *shared: web.AppKey[Any]) -> None:
    """Have `admin_app` live within the life of `app`, and find under the `shared` keys what `app` has there.

    `app` opened the components of both before this was added.

    It has a server of its own, `app[ADMIN_SERVER]`, that `run` listens with on the admin port.
    """
    admin = create_server(admin_app, "admin")

    async def live(_: web.Application) -> AsyncIterator[None]:
        for key in shared:
            admin_app[key] = app[key]
        await admin.setup()
        yield
        await admin.close()

    app[ADMIN_SERVER] = admin
    app.cleanup_ctx.append(live)


@dataclass(frozen=True, slots=True)
class Worker:
    """What one of several processes behind a port has of its own: where its health is asked for, whom it tells."""

    operations: socket.socket
    tell_listening: Callable[[], None]


def run(app: web.Application, settings: ProcessSettings, worker: Worker | None = None) -> None:
    """Wait for the database, then serve until SIGTERM or SIGINT: not ready, drain, finish what is under way, return.

    A second signal ends the process at once. As a `worker` it shares the port, and its health is asked for by the
    process that speaks for all. Raises OperatorError, naming the variable, when an address cannot be listened on, or
    the database's URL cannot be used.
    """
    uvloop.run(_serve(app, settings, worker))


async def _serve(app: web.Application, settings: ProcessSettings, worker: Worker | None) -> None:
    stop = catch_signals()
    readiness = app[READINESS]
    readiness.phase = "starting"
    service = create_server(app)
    servers, ports = [service], {"port": settings.port, "ops_port": settings.ops_port}

    async def render_metrics() -> bytes:
        return app[METRICS].render()

    operations = make_operations(readiness.find_not_ready, render_metrics)
    try:
        await operations.setup()
        if worker is None:
            await listen(operations, f"{settings.prefix}OPS_", settings.ops_host, settings.ops_port)
        else:
            await operations.listen_on(worker.operations)
        try:
            await wait_for_database(settings.postgres_dsn, stop)
        except OperatorError as error:
            raise OperatorError(f"{settings.prefix}POSTGRES_DSN: {error}") from error
        if not stop.is_set():
            await service.setup()
            reuse_port = worker is not None
            await listen(service, settings.prefix, settings.host, settings.port, reuse_port=reuse_port)
            if isinstance(settings, AdminSettings):
                admin = app[ADMIN_SERVER]
                prefix = f"{settings.prefix}ADMIN_"
                await listen(admin, prefix, settings.admin_host, settings.admin_port, reuse_port=reuse_port)
                servers.append(admin)
                ports["admin_port"] = settings.admin_port
            if worker is not None:
                worker.tell_listening()
            _spare_the_collector()
            readiness.phase = "serving"
            # Whoever has only this log reads there what keeps the process from being ready.
            await readiness.find_not_ready()
            _log.info("listening", **ports)
            await stop.wait()
            readiness.phase = "stopping"
            _log.info("stopping", drain_seconds=settings.drain_seconds)
            for server in servers:
                server.drain()
            await asyncio.sleep(settings.drain_seconds)
    finally:
        readiness.phase = "stopping"
        # At once: what is under way at one must not wait for the other to be done. Components go after both.
        await asyncio.gather(*(server.close() for server in servers))
        await operations.close()
    _log.info("stopped")


def make_operations(find_not_ready: FindNotReady, render_metrics: RenderMetrics) -> HttpServer:
    """Make the server of the operations port."""
    app = create_operations_app(find_not_ready, render_metrics)
    app.on_response_prepare.append(_name_server)
    return HttpServer(app, render_error=render_operations_error)


def catch_signals() -> asyncio.Event:
    """Return what SIGTERM or SIGINT sets. A second one ends the process, with the status of one that it killed."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask(number: int) -> None:
        # Not the signal's default action: the first process of a container has none.
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask, number)
    return stop


async def listen(server: HttpServer, prefix: str, host: str, port: int, *, reuse_port: bool = False) -> None:
    """Take connections; raise OperatorError with the variable, after its `prefix`, that says what cannot be had."""
    try:
        await server.listen(host, port, reuse_port=reuse_port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OperatorError(f"{prefix}PORT: port {port} of {host} is in use") from error
        if error.errno == errno.EACCES:
            raise OperatorError(f"{prefix}PORT: this user may not listen on port {port}") from error
        raise OperatorError(f"{prefix}HOST: {host} cannot be listened on; it must be this machine's") from error
    except UnicodeError as error:
        raise OperatorError(f"{prefix}HOST: {host} is no name of a host") from error


def _spare_the_collector() -> None:
    """Leave what was loaded at the start out of all further garbage collections, and make those rarer.

    By default every 700 new objects are looked through, and the whole heap, modules and schemas included, every few
    thousand requests: about a tenth of what a create cost this process, and pauses of tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 5)
