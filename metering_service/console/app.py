"""The console's pages, routed."""

import aiohttp_jinja2
from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from metering_service.components import COMPONENTS
from metering_service.console import clients, decisions, grants, health, login, policies, refunds, static_files
from metering_service.console.formats import FILTERS
from metering_service.console.links import PREFIX, link
from metering_service.console.pages import require_session, send_headers
from service_chassis.http.paths import take_any_id

ROUTES = (
    web.get("", clients.go_home),
    web.get("/", clients.go_home),
    web.get("/login", login.show_login),
    web.post("/login", login.log_in),
    web.get("/login/{secret}", login.follow_link, allow_head=False),
    web.post("/login-links", login.make_link),
    web.post("/logout", login.log_out),
    web.get("/static/{name}", static_files.show_file),
    web.get("/clients", clients.list_clients),
    web.get("/clients/{clientId}", clients.show_client),
    web.get("/clients/{clientId}/grant", grants.show_form),
    web.post("/clients/{clientId}/grant", grants.grant),
    web.get("/clients/{clientId}/refusals/{line}", decisions.show_refusal),
    web.get("/clients/{clientId}/events/{eventId}", decisions.show_event),
    web.get("/clients/{clientId}/events/{eventId}/refund", refunds.show_form),
    web.post("/clients/{clientId}/events/{eventId}/refund", refunds.refund),
    web.get("/decisions", decisions.find_event),
    web.get("/policies", policies.list_policies),
    web.get("/policies/new", policies.show_new),
    web.post("/policies/new", policies.preview),
    web.get("/policies/of/{policyId}", policies.show_policy),
    web.get("/policies/of/{policyId}/edit", policies.show_edit),
    web.post("/policies/of/{policyId}/edit", policies.preview),
    web.get("/health", health.show_health),
)

ENVIRONMENT = Environment(
    loader=PackageLoader(__package__),
    enable_async=True,
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,
    trim_blocks=True,
    lstrip_blocks=True,
)
"""One for every application of a process: what it has compiled it keeps."""
ENVIRONMENT.filters |= FILTERS
ENVIRONMENT.globals |= {"link": link, "files": static_files.FILES}


def add_console(app: web.Application) -> None:
    """Mount the console on an application that has the service's components when it starts."""
    console = web.Application(middlewares=[send_headers, require_session])
    console.add_routes(
        web.RouteDef(route.method, take_any_id(route.path), route.handler, route.kwargs) for route in ROUTES
    )
    console[aiohttp_jinja2.APP_KEY] = ENVIRONMENT

    async def share_components(console: web.Application) -> None:
        console[COMPONENTS] = app[COMPONENTS]

    console.on_startup.append(share_components)
    app.add_subapp(PREFIX, console)
