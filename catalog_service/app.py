"""The web application: its frame, its calls, and the components that live as long as it does."""

from aiohttp import web

from catalog_service.admin_app import create_admin_app
from catalog_service.api.description import API, ENDPOINTS
from catalog_service.api.responses import encode_plans
from catalog_service.components import COMPONENTS, open_components
from catalog_service.settings import PREFIX, CatalogSettings
from service_chassis.application import add_admin_app, add_components
from service_chassis.auth.service_keys import read_service_keys
from service_chassis.clock import Clock, system_clock
from service_chassis.openapi.pages import create_api_app


def create_app(settings: CatalogSettings, *, clock: Clock = system_clock) -> web.Application:
    """Make the application, with that of administration. It opens its connections when it is started.

    Raises InvalidSettings.
    """
    app = create_api_app(API, ENDPOINTS, settings, cors_origins=settings.cors_origins)
    admin_keys = read_service_keys(f"{PREFIX}ADMIN_KEYS", settings.admin_keys, ["admin"])
    add_components(app, COMPONENTS, open_components(app, settings, admin_keys, clock, encode_plans))
    add_admin_app(app, create_admin_app(app, settings), COMPONENTS)
    return app
