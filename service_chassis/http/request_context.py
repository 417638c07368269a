"""The request that is being served: its id and its trace, for log lines, metrics, spans and onward calls."""

import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service_chassis.operations import tracing
from service_chassis.operations.logging import log_fields

if TYPE_CHECKING:
    from service_chassis.operations.spans import Span

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
_MANY = "X-Request-IDs"
_MANY_CHARACTERS = 7_000
"""Of ids in one header, about 200 of ours; aiohttp's own bound on a header is 8,190. What is beyond is named in the
caller's own log alone."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The request that something is done for, which may be over when it is done.

    `traceparent` (W3C Trace Context) is what goes on from here: the caller's trace, or that of our own span, under a
    parent id of ours; None where there is neither.
    """

    request_id: str
    traceparent: str | None = None


_origin: ContextVar[Origin | None] = ContextVar("request_origin", default=None)

REQUEST_ID = web.RequestKey("request_id", str)

ObserveRequest = Callable[[str, str, int, float], None]
"""Called once per request with method, route pattern, status and seconds."""

LogAccess = Callable[[Mapping[str, object]], None]
"""Called once per request with the fields of its line in the log."""


def find_origin() -> Origin | None:
    """Return the request that is being served; None outside of one."""
    return _origin.get()


def onward_headers(origins: Sequence[Origin]) -> dict[str, str]:
    """Return the headers that tie an onward call to the requests it is made for; its trace is the first one's."""
    if not origins:
        return {}
    headers = {"X-Request-ID": origins[0].request_id}
    if origins[0].traceparent is not None:
        headers["traceparent"] = origins[0].traceparent
    if len(origins) > 1:
        ids = ",".join([origin.request_id for origin in origins])
        if len(ids) > _MANY_CHARACTERS:
            ids = ids[:_MANY_CHARACTERS].rpartition(",")[0]
        headers[_MANY] = ids
    return headers


def name_in_log(**fields: object) -> None:
    """Have every further log line about the present request say `fields`, its access line among them."""
    if _origin.get() is not None:
        log_fields.set({**log_fields.get(), **fields})


def name_requests_in_log(request: web.Request) -> None:
    """Have the log say for which requests a call was made, where there were several. Of trusted callers only."""
    ids = request.headers.get(_MANY)
    if ids is not None:
        name_in_log(requests=[each for each in ids.split(",") if _REQUEST_ID.fullmatch(each)])


def context_middleware(observe: ObserveRequest, log_access: LogAccess) -> Middleware:
    """Make the outermost middleware: request id, trace, access log line and metrics."""

    @web.middleware
    async def with_context(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unmatched"
        span = _open_context(request, route)
        status = 499  # as nginx logs it: the caller went away before there was a response
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            seconds = time.perf_counter() - began
            fields = log_fields.get()
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
            if span is not None:
                span.end(status, fields)

    return with_context


def _open_context(request: web.Request, route: str) -> "Span | None":
    """Take or make the request's id, and its trace where there is one; return its span where spans are made."""
    given = request.headers.get("X-Request-ID")
    request_id = given if given is not None and _REQUEST_ID.fullmatch(given) else _make_id(16)
    request[REQUEST_ID] = request_id
    traceparent = request.headers.get("traceparent")
    trace = _TRACEPARENT.fullmatch(traceparent) if traceparent is not None else None
    span, onward = None, None
    if tracing.spans is not None:
        span = tracing.spans.begin_request(request.method, route, None if trace is None else traceparent)
        onward = span.traceparent
    elif trace is not None:
        onward = f"00-{trace[1]}-{_make_id(8)}-{trace[2]}"
    _origin.set(Origin(request_id, onward))
    fields = {"request_id": request_id}
    log_fields.set(fields if onward is None else {**fields, "trace_id": onward[3:35]})
    return span


def _make_id(size: int) -> str:
    """Return a random id of `size` bytes in hexadecimal; not for secrets."""
    return f"{random.getrandbits(size * 8) or 1:0{size * 2}x}"


async def send_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Put the request's id on its response; for `Application.on_response_prepare`, so that streams have it too."""
    if REQUEST_ID in request:
        response.headers["X-Request-ID"] = request[REQUEST_ID]
