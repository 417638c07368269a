"""The web application: its frame, its calls, and the components that live as long as it does."""

from collections.abc import AsyncIterator

from aiohttp import web

from metering_service.admin_app import create_admin_app
from metering_service.api.auth import ACCEPTED_SCOPES
from metering_service.api.description import API, BODY_LIMIT_BYTES, ENDPOINTS
from metering_service.api.responses import render_error
from metering_service.components import COMPONENTS, open_components
from metering_service.settings import PREFIX, SCOPES, MeteringSettings
from service_chassis.application import add_admin_app, create_web_app
from service_chassis.auth.service_keys import read_service_keys
from service_chassis.clock import Clock, system_clock
from service_chassis.http.bounds import HttpBounds
from service_chassis.http.query import known_query_middleware
from service_chassis.openapi.pages import add_endpoints


def create_app(settings: MeteringSettings, *, clock: Clock = system_clock) -> web.Application:
    """Make the application, with that of administration. It opens its connections when it is started.

    Raises InvalidSettings.
    """
    app = create_web_app(
        render_error=render_error,
        body_limit_bytes=BODY_LIMIT_BYTES,
        bounds=HttpBounds(idle_seconds=settings.keep_alive_seconds),
    )
    app.middlewares.append(known_query_middleware(ENDPOINTS))
    add_endpoints(app, ENDPOINTS, API)
    app[ACCEPTED_SCOPES] = SCOPES
    service_keys = read_service_keys(f"{PREFIX}SERVICE_KEYS", settings.service_keys, SCOPES)

    async def keep_components(app: web.Application) -> AsyncIterator[None]:
        async with open_components(app, settings, service_keys, clock) as components:
            app[COMPONENTS] = components
            yield

    app.cleanup_ctx.append(keep_components)
    add_admin_app(app, create_admin_app(app, settings), COMPONENTS)
    return app
