"""The request that is being served: its id and its trace, for log lines, metrics and onward calls."""

import random
import re
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service_chassis.operations.logging import log_fields

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class _Context:
    """The request that is being served: its id and, where its caller sent one, its trace."""

    request_id: str
    trace_id: str | None = None
    trace_flags: str | None = None

    def as_log_fields(self) -> dict[str, str]:
        if self.trace_id is None:
            return {"request_id": self.request_id}
        return {"request_id": self.request_id, "trace_id": self.trace_id}


_context: ContextVar[_Context | None] = ContextVar("request_context", default=None)

REQUEST_ID = web.RequestKey("request_id", str)

ObserveRequest = Callable[[str, str, int, float], None]
"""Called once per request with method, route pattern, status and seconds."""

LogAccess = Callable[[Mapping[str, object]], None]
"""Called once per request with the fields of its line in the log."""


def onward_headers() -> dict[str, str]:
    """Return the headers that tie an onward call to the present request; empty outside of one."""
    context = _context.get()
    if context is None:
        return {}
    headers = {"X-Request-ID": context.request_id}
    # W3C Trace Context: the trace goes on, under a parent id of ours.
    if context.trace_id is not None:
        headers["traceparent"] = f"00-{context.trace_id}-{_make_id(8)}-{context.trace_flags}"
    return headers


def context_middleware(observe: ObserveRequest, log_access: LogAccess) -> Middleware:
    """Make the outermost middleware: request id, trace, access log line and metrics."""

    @web.middleware
    async def with_context(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        fields = _open_context(request)
        status = 499  # as nginx logs it: the caller went away before there was a response
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            seconds = time.perf_counter() - began
            resource = request.match_info.route.resource
            route = resource.canonical if resource is not None else "unmatched"
            observe(request.method if resource is not None else "ANY", route, status, seconds)
            log_access(
                {
                    "event": "request",
                    "method": request.method,
                    "route": route,
                    "status": status,
                    "ms": round(seconds * 1000, 1),
                    **fields,
                }
            )

    return with_context


def _open_context(request: web.Request) -> Mapping[str, str]:
    given = request.headers.get("X-Request-ID")
    request_id = given if given is not None and _REQUEST_ID.fullmatch(given) else _make_id(16)
    request[REQUEST_ID] = request_id
    traceparent = request.headers.get("traceparent")
    trace = _TRACEPARENT.fullmatch(traceparent) if traceparent is not None else None
    context = _Context(request_id, trace[1], trace[2]) if trace else _Context(request_id)
    _context.set(context)
    fields = context.as_log_fields()
    log_fields.set(fields)
    return fields


def _make_id(size: int) -> str:
    """Return a random id of `size` bytes in hexadecimal; not for secrets."""
    return f"{random.getrandbits(size * 8) or 1:0{size * 2}x}"


async def send_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Put the request's id on its response; for `Application.on_response_prepare`, so that streams have it too."""
    if REQUEST_ID in request:
        response.headers["X-Request-ID"] = request[REQUEST_ID]
