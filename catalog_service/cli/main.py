"""The command line: `serve` unless told otherwise, `migrate`, and the groups of commands."""

from collections.abc import Sequence

from catalog_service.cli import clients, keys, plans, secrets
from catalog_service.components import SCHEMA
from catalog_service.settings import CatalogSettings, DatabaseSettings
from catalog_service.tokens.rotate_key import RotateKeys
from service_chassis.cli.admin_audit import add_admin_audit
from service_chassis.cli.commands import (
    AsJson,
    Workers,
    create_commands,
    migrate_and_show,
    run_commands,
    run_with_pool,
)


def serve(workers: Workers = None) -> None:
    """Serve the API until SIGTERM or SIGINT."""
    # Here and not above: the other commands should not wait for all of a web server to be imported.
    from catalog_service.app import create_app
    from service_chassis.cli.serve import serve_app

    serve_app("catalog_service", CatalogSettings, create_app, workers)


def migrate(as_json: AsJson = False) -> None:
    """Bring the database to this version's schema, and make the first signing key."""
    migrate_and_show(DatabaseSettings, SCHEMA, as_json)
    run_with_pool(DatabaseSettings, lambda pool: RotateKeys(pool).ensure(), command="catalog_service migrate")


commands = create_commands("Clients, plans and signing keys of the catalog.", serve, migrate)
add_admin_audit(commands, DatabaseSettings, "catalog_service")
commands.add_typer(clients.commands, name="clients")
commands.add_typer(secrets.commands, name="secrets")
commands.add_typer(plans.commands, name="plans")
commands.add_typer(keys.commands, name="keys")


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    run_commands(commands, "catalog_service", arguments)
