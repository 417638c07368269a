"""The web application of administration: the calls that admin keys open, and the console's pages.

It listens on a port of its own and shares what the service's application is made of.
"""

from aiohttp import web

from metering_service.api.auth import ACCEPTED_SCOPES
from metering_service.api.description import ADMIN_API, ADMIN_ENDPOINTS
from metering_service.console.app import add_console
from metering_service.settings import MeteringSettings
from service_chassis.openapi.pages import create_api_app


def create_admin_app(app: web.Application, settings: MeteringSettings) -> web.Application:
    """Make the application, to be started when the components of `app` are open."""
    admin = create_api_app(ADMIN_API, ADMIN_ENDPOINTS, settings, beside=app)
    admin[ACCEPTED_SCOPES] = ("admin",)
    add_console(admin)
    return admin
