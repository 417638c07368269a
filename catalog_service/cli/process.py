"""Run the service, and prepare its database."""

from catalog_service.app import MIGRATIONS, create_app
from catalog_service.cli.operator import run_with_pool
from catalog_service.settings import CatalogSettings, DatabaseSettings
from catalog_service.tokens.rotate_key import ensure_signing_key
from service_chassis import application
from service_chassis.cli.commands import AsJson, migrate_and_show
from service_chassis.clock import system_clock
from service_chassis.operations.logging import configure_logging
from service_chassis.settings import read_settings


def serve() -> None:
    """Serve the API until SIGTERM."""
    settings = read_settings(CatalogSettings)
    configure_logging(settings.log_level, "catalog")
    application.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        ops_host=settings.ops_host,
        ops_port=settings.ops_port,
    )


def migrate(as_json: AsJson = False) -> None:
    """Bring the database to this version's tables, and make the first signing key."""
    dsn = read_settings(DatabaseSettings).postgres_dsn
    migrate_and_show(dsn, MIGRATIONS, as_json)
    run_with_pool(lambda pool: ensure_signing_key(pool, system_clock()))
