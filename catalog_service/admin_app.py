"""The web application of administration: the calls that admin keys open.

It listens on a port of its own and shares what the service's application is made of.
"""

from aiohttp import web

from catalog_service.api.description import ADMIN_API, ADMIN_ENDPOINTS
from catalog_service.api.responses import render_error
from catalog_service.settings import CatalogSettings
from service_chassis.application import METRICS, create_web_app
from service_chassis.http.bounds import ADMIN_CONNECTIONS, HttpBounds
from service_chassis.http.json_body import PUBLIC_BODY_LIMIT_BYTES
from service_chassis.http.query import known_query_middleware
from service_chassis.openapi.pages import add_endpoints


def create_admin_app(app: web.Application, settings: CatalogSettings) -> web.Application:
    """Make the application, to be started when the components of `app` are open."""
    admin = create_web_app(
        render_error=render_error,
        body_limit_bytes=PUBLIC_BODY_LIMIT_BYTES,
        bounds=HttpBounds(idle_seconds=settings.keep_alive_seconds, connections=ADMIN_CONNECTIONS),
        metrics=app[METRICS],
    )
    admin.middlewares.append(known_query_middleware(ADMIN_ENDPOINTS))
    add_endpoints(admin, ADMIN_ENDPOINTS, ADMIN_API)
    return admin
