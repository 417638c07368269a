"""Serve a service's API, as its command line says. Apart: other commands need not wait for a web server's imports."""

from collections.abc import Callable
from typing import TypeVar

from aiohttp import web

from service_chassis.application import run
from service_chassis.operations.logging import configure_logging
from service_chassis.operations.tracing import start_tracing
from service_chassis.own_secrets import require_own_secrets
from service_chassis.process_settings import ProcessSettings
from service_chassis.settings import read_settings
from service_chassis.workers.run import run_workers

Settings = TypeVar("Settings", bound=ProcessSettings)


def serve_app(
    service: str,
    settings_class: type[Settings],
    create_app: Callable[[Settings], web.Application],
    workers: int | None = None,
) -> None:
    """Read the settings, log as `service`, and serve until SIGTERM or SIGINT, by as many `workers` as told or set."""
    settings = read_settings(settings_class)
    require_own_secrets(settings)
    configure_logging(settings.log_level, service)
    stop_tracing = start_tracing(service)
    try:
        app = create_app(settings)
        count = workers or settings.workers
        if count > 1:
            run_workers(app, settings, count)
        run(app, settings)
    finally:
        stop_tracing()
