"""The web application of administration: the calls that admin keys open, and the console's pages.

It listens on a port of its own and shares what the service's application is made of.
"""

from aiohttp import web

from metering_service.api.auth import ACCEPTED_SCOPES
from metering_service.api.description import ADMIN_API, ADMIN_ENDPOINTS, BODY_LIMIT_BYTES
from metering_service.api.responses import render_error
from metering_service.console.app import add_console
from metering_service.settings import MeteringSettings
from service_chassis.application import METRICS, create_web_app
from service_chassis.http.bounds import ADMIN_CONNECTIONS, HttpBounds
from service_chassis.http.query import known_query_middleware
from service_chassis.openapi.pages import add_endpoints


def create_admin_app(app: web.Application, settings: MeteringSettings) -> web.Application:
    """Make the application, to be started when the components of `app` are open."""
    admin = create_web_app(
        render_error=render_error,
        body_limit_bytes=BODY_LIMIT_BYTES,
        bounds=HttpBounds(idle_seconds=settings.keep_alive_seconds, connections=ADMIN_CONNECTIONS),
        metrics=app[METRICS],
    )
    admin.middlewares.append(known_query_middleware(ADMIN_ENDPOINTS))
    add_endpoints(admin, ADMIN_ENDPOINTS, ADMIN_API)
    admin[ACCEPTED_SCOPES] = ("admin",)
    add_console(admin)
    return admin
