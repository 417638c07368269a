"""How metering is."""

from aiohttp import web

from metering_service.console.pages import show, use_cases
from metering_service.events.watch import MAX_WATCHED_HOLDS


async def show_health(request: web.Request) -> web.Response:
    """GET /console/health."""
    health = await use_cases(request).health.fetch()
    return await show(request, "health.html", section="health", health=health, most_counted=MAX_WATCHED_HOLDS)
