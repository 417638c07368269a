"""The web application: its frame, its calls, and the components that live as long as it does."""

from aiohttp import web

from metering_service.admin_app import create_admin_app
from metering_service.api.auth import ACCEPTED_SCOPES
from metering_service.api.description import API, ENDPOINTS
from metering_service.components import COMPONENTS, open_components
from metering_service.settings import PREFIX, SCOPES, MeteringSettings
from service_chassis.application import add_admin_app, add_components
from service_chassis.auth.service_keys import read_service_keys
from service_chassis.clock import Clock, system_clock
from service_chassis.openapi.pages import create_api_app


def create_app(settings: MeteringSettings, *, clock: Clock = system_clock) -> web.Application:
    """Make the application, with that of administration. It opens its connections when it is started.

    Raises InvalidSettings.
    """
    app = create_api_app(API, ENDPOINTS, settings)
    app[ACCEPTED_SCOPES] = SCOPES
    service_keys = read_service_keys(f"{PREFIX}SERVICE_KEYS", settings.service_keys, SCOPES)
    add_components(app, COMPONENTS, open_components(app, settings, service_keys, clock))
    add_admin_app(app, create_admin_app(app, settings), COMPONENTS)
    return app
