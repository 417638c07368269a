"""Log in and out."""

import asyncio

from aiohttp import web

from metering_service.api.responses import respond
from metering_service.console.links import PREFIX, is_own, link
from metering_service.console.pages import SESSION_COOKIE, go_to, read_form, show, use_cases
from metering_service.sessions.log_in import SESSION_LIFETIME
from service_chassis.auth.bearer import InvalidToken, read_bearer
from service_chassis.errors import HttpFault, Unauthorized

_WRONG_KEY_SECONDS = 0.5
"""Nobody guesses a key of 256 bits; whoever tries is not to be fast at it."""


async def show_login(request: web.Request) -> web.Response:
    """GET /console/login."""
    return await show(request, "login.html", next=request.query.get("next", ""), wrong=False)


async def log_in(request: web.Request) -> web.Response:
    """POST /console/login."""
    form = await read_form(request)
    address = str(form.get("next", ""))
    try:
        secret = await use_cases(request).sessions.log_in(str(form.get("key", "")).strip())
    except Unauthorized:
        await asyncio.sleep(_WRONG_KEY_SECONDS)
        return await show(request, "login.html", 403, next=address, wrong=True)
    return _keep_session(request, go_to(address if is_own(address) else link("clients")), secret)


async def log_out(request: web.Request) -> web.Response:
    """POST /console/logout."""
    await use_cases(request).sessions.log_out(request.cookies.get(SESSION_COOKIE, ""))
    response = go_to(link("login"))
    response.del_cookie(SESSION_COOKIE, path=PREFIX)
    return response


async def make_link(request: web.Request) -> web.Response:
    """POST /console/login-links, with an admin key as the bearer: for who opens the console for somebody."""
    try:
        secret, ends_at = await use_cases(request).sessions.make_link(read_bearer(request))
    except (InvalidToken, Unauthorized):
        return respond({"error": Unauthorized.message, "code": Unauthorized.code}, Unauthorized.status)
    return respond({"path": link("login", secret), "expiresAt": ends_at}, 201)


async def follow_link(request: web.Request) -> web.Response:
    """GET /console/login/{secret}: good once.

    The page that it makes leads on by itself: a redirect from somewhere else would come without the new cookie.
    """
    if "prefetch" in request.headers.get("Sec-Purpose", ""):
        raise HttpFault(503, "This link is not for looking ahead")
    try:
        secret = await use_cases(request).sessions.follow_link(request.match_info["secret"])
    except Unauthorized:
        return await show(request, "login.html", 403, next="", used=True)
    return _keep_session(request, await show(request, "welcome.html"), secret)


def _keep_session(request: web.Request, response: web.Response, secret: str) -> web.Response:
    is_https = "https" in (
        request.scheme,
        request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip(),  # the first proxy's, of several
        request.headers.get("Origin", "").partition(":")[0],
    )
    response.set_cookie(
        SESSION_COOKIE,
        secret,
        path=PREFIX,
        max_age=int(SESSION_LIFETIME.total_seconds()),
        httponly=True,
        samesite="Strict",
        secure=is_https,
    )
    return response
