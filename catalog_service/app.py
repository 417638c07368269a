"""The web application: its frame, its calls, and the components that live as long as it does."""

from collections.abc import AsyncIterator

from aiohttp import web

from catalog_service.admin_app import create_admin_app
from catalog_service.api.description import API, ENDPOINTS
from catalog_service.api.responses import encode_plans, render_error
from catalog_service.components import COMPONENTS, open_components
from catalog_service.settings import PREFIX, CatalogSettings
from service_chassis.application import add_admin_app, create_web_app
from service_chassis.auth.service_keys import read_service_keys
from service_chassis.clock import Clock, system_clock
from service_chassis.http.bounds import HttpBounds
from service_chassis.http.json_body import PUBLIC_BODY_LIMIT_BYTES
from service_chassis.openapi.pages import add_endpoints


def create_app(settings: CatalogSettings, *, clock: Clock = system_clock) -> web.Application:
    """Make the application, with that of administration. It opens its connections when it is started.

    Raises InvalidSettings.
    """
    app = create_web_app(
        render_error=render_error,
        body_limit_bytes=PUBLIC_BODY_LIMIT_BYTES,
        bounds=HttpBounds(idle_seconds=settings.keep_alive_seconds),
        cors_origins=settings.cors_origins,
    )
    add_endpoints(app, ENDPOINTS, API)
    admin_keys = read_service_keys(f"{PREFIX}ADMIN_KEYS", settings.admin_keys, ["admin"])

    async def keep_components(app: web.Application) -> AsyncIterator[None]:
        async with open_components(app, settings, admin_keys, clock, encode_plans) as components:
            app[COMPONENTS] = components
            yield

    app.cleanup_ctx.append(keep_components)
    add_admin_app(app, create_admin_app(app, settings), COMPONENTS)
    return app
