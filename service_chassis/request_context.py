"""What every log line and every onward call knows of the request it belongs to."""

import re
import secrets
import time
from collections.abc import Callable
from contextvars import ContextVar

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")

_onward_headers: ContextVar[dict[str, str] | None] = ContextVar("onward_headers", default=None)
_access_log = structlog.get_logger("access")

REQUEST_ID = web.RequestKey("request_id", str)

ObserveRequest = Callable[[str, str, int, float], None]
"""Called once per request with method, route pattern, status and seconds."""


def onward_headers() -> dict[str, str]:
    """Answer the headers that tie an onward call to the present request; empty outside of one."""
    return dict(_onward_headers.get() or {})


def context_middleware(observe: ObserveRequest) -> Middleware:
    """Make the outermost middleware: request id, trace, access log line and metrics."""

    @web.middleware
    async def with_context(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        _open_context(request)
        status = 499  # as nginx logs it: the caller went away before there was an answer
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            seconds = time.perf_counter() - began
            resource = request.match_info.route.resource
            route = resource.canonical if resource is not None else "unmatched"
            observe(request.method if resource is not None else "ANY", route, status, seconds)
            _access_log.info(
                "request", method=request.method, route=route, status=status, ms=round(seconds * 1000, 1)
            )

    return with_context


def _open_context(request: web.Request) -> None:
    given = request.headers.get("X-Request-ID", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
    request[REQUEST_ID] = request_id
    onward = {"X-Request-ID": request_id}
    fields = {"request_id": request_id}
    # W3C Trace Context: the trace goes on, under a parent id of ours.
    trace = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    if trace:
        onward["traceparent"] = f"00-{trace[1]}-{secrets.token_hex(8)}-{trace[2]}"
        fields["trace_id"] = trace[1]
    _onward_headers.set(onward)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**fields)


async def send_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Put the request's id on its answer; for `Application.on_response_prepare`, so that streams have it too."""
    if REQUEST_ID in request:
        response.headers["X-Request-ID"] = request[REQUEST_ID]
