"""How long and how much a caller may take, and the bound on the work for it."""

import asyncio
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware


@dataclass(frozen=True, slots=True)
class HttpBounds:
    """What one connection, one request and one process of a service are allowed. Tests pass shorter ones."""

    head_seconds: float = 10.0
    """From the first byte of a request to the end of its headers; then 408 and the end of the connection."""
    body_seconds: float = 10.0
    """For the rest of a body, from when it is asked for; then 408 and the end of the connection."""
    idle_seconds: float = 75.0
    """A connection without a request, new or kept alive; longer than the 60 s after which proxies drop theirs."""
    handler_seconds: float = 20.0
    """From the routed request to the first byte of its answer; then 500. Above every deadline inside a service
    (6 s at the most), below the age at which a hold counts as left behind (30 s)."""
    stalled_reader_seconds: float = 30.0
    """How long a caller may take nothing of an answer that waits for it; then the connection is cut."""
    lingering_seconds: float = 2.0
    """For reading on, and forgetting, what a caller still sends after its answer, so that it sees the answer."""
    connections: int = 4096
    """At once, in one process; another one is answered 503 and closed. Less where the process may open less files."""
    check_seconds: float = 1.0
    """Pause between two looks at all connections: how late a bound above may strike."""


DEFAULT_BOUNDS = HttpBounds()
BOUNDS = web.AppKey("bounds", HttpBounds)

_DEADLINE = web.RequestKey("deadline", asyncio.Timeout)


def deadline_middleware(seconds: float) -> Middleware:
    """Make the middleware that ends a handler with TimeoutError unless its answer begins within `seconds`."""

    @web.middleware
    async def with_deadline(request: web.Request, handler: Handler) -> web.StreamResponse:
        async with asyncio.timeout(seconds) as deadline:
            request[_DEADLINE] = deadline
            try:
                return await handler(request)
            finally:
                del request[_DEADLINE]

    return with_deadline


async def lift_deadline(request: web.Request, _: web.StreamResponse) -> None:
    """Let an answer that has begun take its time; for `Application.on_response_prepare`. Its reader is bounded."""
    deadline = request.get(_DEADLINE)
    if deadline is not None:
        deadline.reschedule(None)


async def read_within_bound(request: web.Request) -> bytes:
    """Read the whole body. Raises TimeoutError when the rest of it takes longer than the bound."""
    if request.content.is_eof():
        return await request.read()
    async with asyncio.timeout(request.app.get(BOUNDS, DEFAULT_BOUNDS).body_seconds):
        return await request.read()
