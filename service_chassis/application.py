"""Build a service's web application and run it as a process."""

import asyncio
import signal

import structlog
import uvloop
from aiohttp import web

from service_chassis.error_rendering import RenderError, error_middleware
from service_chassis.health import Readiness, create_operations_app
from service_chassis.metrics import Metrics
from service_chassis.request_context import context_middleware, send_request_id

READINESS = web.AppKey("readiness", Readiness)
METRICS = web.AppKey("metrics", Metrics)

SHUTDOWN_TIMEOUT_SECONDS = 10.0
"""How long requests under way may take to finish after SIGTERM."""
_KEEPALIVE_TIMEOUT_SECONDS = 75.0

_log = structlog.get_logger(__name__)


def create_web_app(*, render_error: RenderError, body_limit_bytes: int) -> web.Application:
    """Make an application with the frame that every service has: context, errors, metrics, readiness."""
    metrics = Metrics()
    app = web.Application(
        middlewares=[context_middleware(metrics.observe_request), error_middleware(render_error)],
        client_max_size=body_limit_bytes,
    )
    app[METRICS] = metrics
    app[READINESS] = Readiness()
    app.on_response_prepare.append(send_request_id)
    return app


def run(app: web.Application, *, host: str, port: int, ops_host: str, ops_port: int) -> None:
    """Serve until SIGTERM or SIGINT: then not ready, finish what is under way, close, return.

    Raises OSError when a port cannot be bound.
    """
    uvloop.run(_serve(app, (host, port), (ops_host, ops_port)))


async def _serve(app: web.Application, public: tuple[str, int], ops: tuple[str, int]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    service = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=_KEEPALIVE_TIMEOUT_SECONDS,
        shutdown_timeout=SHUTDOWN_TIMEOUT_SECONDS,
        handler_cancellation=False,
    )
    operations = web.AppRunner(create_operations_app(app[READINESS], app[METRICS]), access_log=None)
    try:
        await service.setup()
        await operations.setup()
        for runner, (host, port) in ((operations, ops), (service, public)):
            await web.TCPSite(runner, host, port, backlog=1024).start()
        _log.info("listening", port=public[1], ops_port=ops[1])
        await stop.wait()
        _log.info("stopping")
    finally:
        app[READINESS].stopping = True
        await service.cleanup()
        await operations.cleanup()
    _log.info("stopped")
