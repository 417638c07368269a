"""The keys that sign access tokens."""

from datetime import timedelta
from typing import Any

import typer

from catalog_service.cli.operator import run_with_pool
from catalog_service.settings import CatalogSettings
from catalog_service.tokens.rotate_key import list_signing_keys, rotate_signing_key
from catalog_service.tokens.signing_key import SigningKey, describe_state
from service_chassis.cli.commands import AsJson, show_json, show_table
from service_chassis.clock import system_clock
from service_chassis.settings import read_settings

commands = typer.Typer(help="The keys that sign access tokens.", no_args_is_help=True)

_COLUMNS = {
    "kid": "Key",
    "state": "State",
    "signs_from": "Signs from (UTC)",
    "published_until": "Published until (UTC)",
}


@commands.command("rotate")
def rotate(as_json: AsJson = False) -> None:
    """Make a key that takes over by itself once everybody can have it; no token is refused meanwhile."""
    lifetime = timedelta(seconds=read_settings(CatalogSettings).token_lifetime_seconds)
    key = run_with_pool(lambda pool: rotate_signing_key(pool, token_lifetime=lifetime, now=system_clock()))
    if as_json:
        show_json({"kid": key.kid, "signs_from": key.signs_from})
    else:
        typer.echo(f"key {key.kid} is published now and signs from {key.signs_from:%Y-%m-%d %H:%M:%S} UTC")


@commands.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the keys and what each is for at the moment."""
    keys = _describe(run_with_pool(list_signing_keys))
    if as_json:
        show_json(keys)
    else:
        show_table(keys, _COLUMNS)


def _describe(keys: list[SigningKey]) -> list[dict[str, Any]]:
    now = system_clock()
    return [
        {
            "kid": key.kid,
            "state": describe_state(key, keys, now),
            "created_at": key.created_at,
            "signs_from": key.signs_from,
            "published_until": key.published_until,
        }
        for key in keys
    ]
