"""One connection of a caller: aiohttp's own, with our words for its errors and a bound on every wait.

aiohttp itself responds to what it cannot parse, in plain text that may quote the request, and lets a caller take
as long as the keep-alive timeout for its headers. `RequestHandler.handle_error`, `finish_response` and the callbacks
of asyncio's Protocol are its documented seams; nothing here touches its private state.
"""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import structlog
from aiohttp import StreamReader, http_exceptions, web

from service_chassis.errors import HttpFault, InvalidRequest, ServiceError
from service_chassis.http.bounds import HttpBounds
from service_chassis.http.error_rendering import RenderError
from service_chassis.http.json_response import SERVER_NAME, JsonResponse
from service_chassis.operations.logging import log_fault
from service_chassis.operations.metrics import Metrics

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ServerContext:
    """What the connections of one server share, and how many of them there are."""

    render: RenderError
    bounds: HttpBounds
    room: int
    """For so many connections at once."""
    metrics: Metrics | None
    listener: str
    """What `metrics` call the server."""
    present: int = 0
    is_draining: bool = False

    def admit(self) -> bool:
        """Return whether there is room for one more, and count it."""
        if self.present >= self.room:
            return False
        self.present += 1
        return True

    def note_refusal(self, reason: str) -> None:
        """Count a response given before there was a request."""
        if self.metrics is not None:
            self.metrics.connections_refused.labels(self.listener, reason).inc()


class Connection(web.RequestHandler):
    """A connection that knows whether a head is on its way, and since when."""

    __slots__ = ("_admitted", "_body", "_busy", "_clock", "_context", "_head_began", "_unread", "_unread_since")

    def __init__(self, server: web.Server, context: ServerContext, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=context.bounds.idle_seconds,
            lingering_time=context.bounds.lingering_seconds,
            access_log=None,  # type: ignore[arg-type]  # ours is a middleware
            # Encoded bodies are refused; a decoder would only be something to blow up.
            auto_decompress=False,
        )
        self._context = context
        self._clock = loop.time
        self._admitted = False
        self._busy = False
        self._head_began: float | None = None
        self._body: StreamReader | None = None
        self._unread = 0
        self._unread_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection in, or turn it away when the server is full."""
        self._admitted = self._context.admit()
        if self._admitted:
            super().connection_made(transport)
            return
        self._context.note_refusal("full")
        self.close()  # what it sends is not read
        writable = cast(asyncio.Transport, transport)
        writable.write(self._final_response(HttpFault(503, "Too many connections", headers={"Retry-After": "1"})))
        writable.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give its place back."""
        if self._admitted:
            self._admitted = False
            self._context.present -= 1
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note when a head begins."""
        super().data_received(data)
        if data and not self._busy and self._head_began is None:
            self._head_began = self._clock()

    def begin_request(self, body: StreamReader) -> None:
        """Note that a head is complete, and that `body` comes after it."""
        self._busy = True
        self._head_began = None
        self._body = body

    @property
    def is_receiving(self) -> bool:
        """Whether a request has begun to come that is not here as a whole, and is wanted."""
        return self._head_began is not None or (self._body is not None and not self._body.is_eof())

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the response; the last of its connection where a part of the body was not wanted, or in a drain."""
        is_whole = request.content.is_eof()
        self._body = None
        if (not is_whole or self._context.is_draining) and isinstance(resp, web.StreamResponse):
            resp.force_close()
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._busy = not is_whole

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Respond to what aiohttp could not read, or what failed outside of our middlewares."""
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response is sent already")
        failure = _describe(exc)
        if failure.status >= 500:
            log_fault("request_failed", exc or TimeoutError())
        else:
            self._context.note_refusal("malformed")
            _log.info("malformed_request", fault=type(exc).__name__)
        response = self._context.render(failure)
        if not isinstance(response, JsonResponse):  # which writes it by itself
            response.headers["Server"] = SERVER_NAME
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log what aiohttp found without its words, which quote the request."""
        error = kw.get("exc_info")
        log_fault("connection_failed", error if isinstance(error, BaseException) else RuntimeError())

    def enforce_bounds(self, now: float) -> None:
        """End the connection when its caller is too slow. Called every `check_seconds`."""
        transport = self.transport
        if transport is None:
            return
        if self._head_began is not None and now - self._head_began > self._context.bounds.head_seconds:
            self._context.note_refusal("slow head")
            transport.write(self._final_response(HttpFault(408, "Request headers took too long")))
            self.force_close()
            return
        unread = transport.get_write_buffer_size()
        if unread == 0 or unread != self._unread:
            self._unread, self._unread_since = unread, now
        elif now - self._unread_since > self._context.bounds.stalled_reader_seconds:
            self._context.note_refusal("stalled reader")
            transport.abort()

    def _final_response(self, failure: ServiceError) -> bytes:
        """Return the bytes of a response without a request, and of the end of the connection."""
        response = self._context.render(failure)
        body = response.body if isinstance(response.body, bytes) else b""
        headers = {
            "Content-Type": response.headers.get("Content-Type", "application/json"),
            "Content-Length": str(len(body)),
            "Connection": "close",
            "Server": SERVER_NAME,
            **failure.headers,
        }
        lines = [f"HTTP/1.1 {failure.status} {HTTPStatus(failure.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def _describe(error: BaseException | None) -> ServiceError:
    # Too many headers have no error of their own in aiohttp.
    too_many = isinstance(error, http_exceptions.BadHttpMessage) and error.message.startswith("Too many headers")
    if too_many or isinstance(error, http_exceptions.LineTooLong):
        return HttpFault(431, "Request line or headers too large")
    if isinstance(error, http_exceptions.HttpProcessingError):
        return InvalidRequest.field("request", "Must be well-formed HTTP/1.1.")
    return ServiceError()
