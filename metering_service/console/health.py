"""How metering is."""

from aiohttp import web

from metering_service.console.pages import show, use_cases
from metering_service.events.watch import MAX_WATCHED_HOLDS
from metering_service.health.read import read_health


async def show_health(request: web.Request) -> web.Response:
    """GET /console/health."""
    cases = use_cases(request)
    health = await read_health(cases.pool, cases.decided, cases.webhooks.receivers)
    return await show(request, "health.html", section="health", health=health, most_counted=MAX_WATCHED_HOLDS)
