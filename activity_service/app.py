"""The web application: its frame, its calls, and the components that live as long as it does."""

from aiohttp import web

from activity_service.api.description import API, ENDPOINTS
from activity_service.components import COMPONENTS, open_components
from activity_service.settings import ActivitySettings
from service_chassis.application import add_components
from service_chassis.clock import Clock, system_clock
from service_chassis.openapi.pages import create_api_app


def create_app(settings: ActivitySettings, *, clock: Clock = system_clock) -> web.Application:
    """Make the application. It opens its connections, and begins its background work, when it is started."""
    app = create_api_app(API, ENDPOINTS, settings, cors_origins=settings.cors_origins)
    add_components(app, COMPONENTS, open_components(app, settings, clock))
    return app
