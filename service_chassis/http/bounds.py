"""How long and how much a caller may take, and the bound on the work for it."""

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler


@dataclass(frozen=True, slots=True)
class HttpBounds:
    """What one connection, one request and one process of a service are allowed. Tests pass shorter ones."""

    head_seconds: float = 10.0
    """From the first byte of a request to the end of its headers; then 408 and the end of the connection."""
    body_seconds: float = 10.0
    """For the rest of a body, from when it is asked for; then 408 and the end of the connection."""
    idle_seconds: float = 75.0
    """A connection without a request, new or kept alive; longer than the 60 s after which proxies drop theirs. What
    serves takes it from `KEEP_ALIVE_SECONDS`."""
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
ADMIN_CONNECTIONS = 128
"""Of administration, at once: below what the bound on files leaves free beside the API's."""
BOUNDS = web.AppKey("bounds", HttpBounds)


@dataclass(slots=True)
class _Handling:
    """A handler at work: when it has to be done by, and whether we ended it for that."""

    deadline: float
    overdue: bool = False


class HandlerDeadlines:
    """Ends handlers whose answer does not begin in time. One look at all of them costs less than a timer for each.

    The oldest come first, since each has as long as the others: `enforce` stops at the first that has time left.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._under_way: dict[asyncio.Task[Any] | None, _Handling] = {}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Run `handler`. Raises TimeoutError in it, and here, when it takes too long."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has one
        handling = _Handling(asyncio.get_running_loop().time() + self._seconds)
        self._under_way[task] = handling
        try:
            return await handler(request)
        except asyncio.CancelledError:
            if handling.overdue and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            self._under_way.pop(task, None)

    async def lift(self, _: web.Request, __: web.StreamResponse) -> None:
        """Let an answer that has begun take its time; for `on_response_prepare`. Its reader is bounded."""
        self._under_way.pop(asyncio.current_task(), None)

    def enforce(self, now: float) -> None:
        """End those that are overdue at `now`, the event loop's time."""
        for task, handling in list(self._under_way.items()):
            if handling.deadline > now:
                return
            if task is not None and not handling.overdue:
                handling.overdue = True
                task.cancel()


DEADLINES = web.AppKey("deadlines", HandlerDeadlines)


async def read_within_bound(request: web.Request) -> bytes:
    """Read the whole body. Raises TimeoutError when the rest of it takes longer than the bound."""
    content = request.content
    if not content.is_eof():
        async with asyncio.timeout(request.app.get(BOUNDS, DEFAULT_BOUNDS).body_seconds):
            return await request.read()
    # All of it is here: `Request.read` would take it in two awaited steps and three copies.
    raw = content.read_nowait()
    if len(raw) > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(max_size=request.client_max_size, actual_size=len(raw))
    return raw
