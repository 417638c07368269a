"""The activity service as it is, under a profiler: GET /bench/calls answers how many functions were called so far."""

import cProfile

from aiohttp import web

from activity_service.app import create_app
from activity_service.settings import ActivitySettings
from service_chassis import application
from service_chassis.operations.logging import configure_logging
from service_chassis.settings import read_settings

PATH = "/bench/calls"


def main() -> None:
    """Serve until SIGTERM."""
    settings = read_settings(ActivitySettings)
    configure_logging(settings.log_level, "activity_service")
    app, profile = create_app(settings), cProfile.Profile()

    async def count_calls(_: web.Request) -> web.Response:
        # Built-in functions have a name instead of code.
        entries = profile.getstats()
        of_python = sum(entry.callcount for entry in entries if not isinstance(entry.code, str))
        return web.json_response({"python": of_python, "all": sum(entry.callcount for entry in entries)})

    app.router.add_get(PATH, count_calls)
    profile.enable()
    application.run(app, settings)


if __name__ == "__main__":
    main()
