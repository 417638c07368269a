"""The web application of administration: the calls that admin keys open.

It listens on a port of its own and shares what the service's application is made of.
"""

from aiohttp import web

from catalog_service.api.description import ADMIN_API, ADMIN_ENDPOINTS
from catalog_service.settings import CatalogSettings
from service_chassis.openapi.pages import create_api_app


def create_admin_app(app: web.Application, settings: CatalogSettings) -> web.Application:
    """Make the application, to be started when the components of `app` are open."""
    return create_api_app(ADMIN_API, ADMIN_ENDPOINTS, settings, beside=app)
