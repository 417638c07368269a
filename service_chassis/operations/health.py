"""The operations port: is it alive, is it ready, what does it count."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

import structlog
from aiohttp import web
from prometheus_client import Gauge

from service_chassis.errors import ServiceError
from service_chassis.operations.metrics import CONTENT_TYPE

CHECK_TIMEOUT_SECONDS = 1.0
"""A check that takes longer counts as not ready."""
MAX_REASON_CHARACTERS = 300

_log = structlog.get_logger(__name__)

Check = Callable[[], Awaitable[object]]
"""Returns when the thing is ready, raises when it is not."""


class Readiness:
    """What must work before this process should get requests, by name."""

    def __init__(self, failing: Gauge | None = None) -> None:
        """`failing` tells by check whether it failed when it was last made."""
        self._failing = failing
        self._checks: dict[str, Check] = {}
        self._once: set[str] = set()
        self._told: dict[str, str] = {}
        self.phase: Literal["starting", "serving", "stopping"] = "serving"

    def require(self, name: str, check: Check, *, once: bool = False) -> None:
        """Add a condition; with `once`, one that holds for good as soon as it was seen to."""
        self._checks[name] = check
        if once:
            self._once.add(name)

    async def find_not_ready(self) -> list[str]:
        """Run all checks at once and return the names of those that fail; log what changed, with the reasons."""
        if self.phase != "serving":
            return [self.phase]
        names = list(self._checks)
        outcomes = await asyncio.gather(
            *(asyncio.wait_for(self._checks[name](), CHECK_TIMEOUT_SECONDS) for name in names),
            return_exceptions=True,
        )
        failing = {
            name: explain(outcome)
            for name, outcome in zip(names, outcomes, strict=True)
            if isinstance(outcome, BaseException)
        }
        if self._failing is not None:
            for name in names:
                self._failing.labels(name).set(name in failing)
        for name in self._once - failing.keys():
            self._checks.pop(name, None)
        self._tell(failing)
        return list(failing)

    def _tell(self, failing: dict[str, str]) -> None:
        for name, why in failing.items():
            if self._told.get(name) != why:
                _log.warning("not_ready", check=name, why=why)
        for name in self._told.keys() - failing.keys():
            _log.info("ready_again", check=name)
        self._told = failing


def explain(error: BaseException) -> str:
    """Say why a check failed. Unlike a request's fault it holds nothing of anybody: no check knows a caller."""
    if isinstance(error, TimeoutError):
        return "took too long"
    return f"{type(error).__name__}: {error}".partition("\n")[0][:MAX_REASON_CHARACTERS]


def render_operations_error(error: ServiceError) -> web.Response:
    """Write an error of the operations port."""
    return web.json_response({"error": error.message}, status=error.status)


FindNotReady = Callable[[], Awaitable[list[str]]]
"""Returns the names of what keeps a process, or all workers of a service, from being ready."""
RenderMetrics = Callable[[], Awaitable[bytes]]
"""Returns the exposition text of the same."""


def create_operations_app(find_not_ready: FindNotReady, render_metrics: RenderMetrics) -> web.Application:
    """Make the application of the operations port: /livez, /readyz, /metrics."""

    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_: web.Request) -> web.Response:
        missing = await find_not_ready()
        if missing:
            return web.json_response({"status": "not ready", "notReady": missing}, status=503)
        return web.json_response({"status": "ready"})

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=await render_metrics(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", show_metrics)
    return app
