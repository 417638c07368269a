"""What every page has: the session it is shown in, its frame, what it says of an error, and its headers."""

import hmac
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

import aiohttp_jinja2
from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import MultiDictProxy

from metering_service.components import COMPONENTS, Components
from metering_service.console.links import PREFIX, link
from metering_service.sessions.log_in import Session
from service_chassis.errors import Forbidden, InvalidRequest, ServiceError, UnsupportedMediaType, say
from service_chassis.http.error_rendering import describe_http_exception
from service_chassis.operations.logging import log_fault

SESSION_COOKIE = "console_session"
NOTICE_COOKIE = "console_notice"
SESSION = web.RequestKey("console_session", Session)
FORM = web.RequestKey("console_form", MultiDictProxy[Any])

OPEN_TO_ALL = {f"{PREFIX}/login", f"{PREFIX}/login-links", f"{PREFIX}/login/{{secret}}", f"{PREFIX}/static/{{name}}"}
"""Routes that need no session. The table of walls is a test over all routes."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""No script at all, nothing from outside, in nobody's frame, in nobody's cache."""


def use_cases(request: web.Request) -> Components:
    """Return what the service is made of."""
    return request.app[COMPONENTS]


async def show(
    request: web.Request, template: str, status: int = 200, *, section: str = "", **context: Any
) -> web.Response:
    """Make the response that a page is. `section` is the part of the console it belongs to."""
    session = request.get(SESSION)
    response = await aiohttp_jinja2.render_template_async(
        template,
        request,
        {
            "session": session,
            "section": section,
            "notice": unquote(request.cookies.get(NOTICE_COOKIE, "")) if session else "",
            **context,
        },
        status=status,
    )
    if session and NOTICE_COOKIE in request.cookies:
        response.del_cookie(NOTICE_COOKIE, path=PREFIX)
    return response


def go_to(address: str, notice: str | None = None) -> web.Response:
    """Make the response that sends a browser on; the page there says `notice`, once."""
    response = web.Response(status=303, headers={"Location": address})
    if notice is not None:
        response.set_cookie(NOTICE_COOKIE, quote(notice), path=PREFIX, httponly=True, samesite="Strict", max_age=60)
    return response


@web.middleware
async def send_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Send what keeps a page to itself with every response, and an error as a page."""
    try:
        response = await handler(request)
    except ServiceError as error:
        response = await _show_error(request, error)
    except web.HTTPException as error:
        response = await _show_error(request, describe_http_exception(error))
    except Exception as error:
        log_fault("request_failed", error)
        response = await _show_error(request, ServiceError())
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


@web.middleware
async def require_session(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let only those in who are logged in, and forms only from the console's own pages.

    Raises Forbidden for a form without a session, or without this session's token.
    """
    if request.method == "POST" and request.headers.get("Sec-Fetch-Site", "same-origin") not in (
        "same-origin",
        "none",
    ):
        raise Forbidden("This form was sent from another site")
    secret = request.cookies.get(SESSION_COOKIE)
    session = await use_cases(request).sessions.find(secret) if secret else None
    if session is not None:
        request[SESSION] = session
    resource = request.match_info.route.resource
    if resource is not None and resource.canonical in OPEN_TO_ALL:
        return await handler(request)
    if request.method in ("GET", "HEAD"):
        return await handler(request) if session else go_to(link("login", next=request.path_qs))
    if session is None:
        raise Forbidden("Your session has ended; log in and send the form again")
    token = (await read_form(request)).get("csrf", "")
    if not isinstance(token, str) or not hmac.compare_digest(token.encode(), session.csrf_token.encode()):
        raise Forbidden("This form belongs to another session; open its page again and send it from there")
    return await handler(request)


async def read_form(request: web.Request) -> MultiDictProxy[Any]:
    """Return the fields of a form, read once. Raises UnsupportedMediaType, InvalidRequest for a body that is none."""
    if FORM not in request:
        if request.content_type != "application/x-www-form-urlencoded":
            raise UnsupportedMediaType("Forms are sent as application/x-www-form-urlencoded")
        try:
            request[FORM] = await request.post()
        except (UnicodeDecodeError, LookupError):
            raise InvalidRequest("Forms are sent in UTF-8") from None
    return request[FORM]


async def _show_error(request: web.Request, error: ServiceError) -> web.Response:
    said = say(error) if error.status < 500 else "Something went wrong on our side; the log says what."
    response = await show(request, "error.html", error.status, said=said, phrase=HTTPStatus(error.status).phrase)
    response.headers.update(error.headers)
    return response
