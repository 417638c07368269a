"""Which web pages may call an API from a browser (CORS, as in the Fetch standard): none, unless they are named.

aiohttp-cors was passed over: it adds headers by a signal that our JSON responses do without, and a route for each
call.
"""

from collections.abc import Awaitable, Callable, Collection

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

ANY_ORIGIN = "*"
_PREFLIGHT = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, X-Request-ID, traceparent",
    "Access-Control-Max-Age": "600",
}
"""Beside the methods; for how many seconds a browser remembers what it was allowed."""
_EXPOSED_HEADERS = "Idempotency-Replayed, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-ID"


def cors_middleware(origins: Collection[str]) -> Middleware:
    """Make the middleware that answers browsers' preflight requests, and lets pages of `origins` read responses.

    It belongs outside of the one that renders errors, which pages read as well. Credentials of a browser's own,
    cookies say, are never allowed: a token is sent by the page.
    """

    @web.middleware
    async def allow(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = request.match_info.http_exception
        is_preflight = (
            request.method == "OPTIONS"
            and "Access-Control-Request-Method" in request.headers
            and _is_allowed(request, origins)
        )
        response: web.StreamResponse
        if is_preflight and isinstance(refused, web.HTTPMethodNotAllowed):
            allowed = {"Access-Control-Allow-Methods": ", ".join(sorted(refused.allowed_methods)), **_PREFLIGHT}
            response = web.Response(status=204, headers=allowed)
        else:
            response = await handler(request)
        if not response.prepared:
            _add_headers(request, response, origins)
        return response

    return allow


def cors_signal(
    origins: Collection[str],
) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Make the handler of `on_response_prepare` for streams, whose head is sent before the middleware sees them."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        _add_headers(request, response, origins)

    return add


def _is_allowed(request: web.Request, origins: Collection[str]) -> bool:
    return ANY_ORIGIN in origins or request.headers.get("Origin") in origins


def _add_headers(request: web.Request, response: web.StreamResponse, origins: Collection[str]) -> None:
    if ANY_ORIGIN in origins:
        response.headers["Access-Control-Allow-Origin"] = ANY_ORIGIN
    else:
        # Also where it is refused: a cache must not give one page what another one was allowed.
        vary = response.headers.get("Vary", "")
        if "Origin" not in vary:
            response.headers["Vary"] = f"{vary}, Origin" if vary else "Origin"
        if not _is_allowed(request, origins):
            return
        response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
    response.headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
