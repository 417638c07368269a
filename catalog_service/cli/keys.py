"""The keys that sign access tokens."""

from datetime import timedelta
from typing import Any

from catalog_service.settings import DatabaseSettings
from catalog_service.tokens.rotate_key import RotateKeys
from catalog_service.tokens.signing_key import SigningKey, describe_state
from service_chassis.auth.bearer import MAX_LIFETIME_SECONDS
from service_chassis.cli.admin_audit import ACTOR
from service_chassis.cli.commands import AsJson, run_with_pool, show, show_done
from service_chassis.cli.usage import Commands
from service_chassis.clock import system_clock

commands = Commands(help="The keys that sign access tokens.", no_args_is_help=True)

_COMMAND = "catalog_service keys"
_COLUMNS = {
    "kid": "Key",
    "state": "State",
    "signs_from": "Signs from (UTC)",
    "published_until": "Published until (UTC)",
}


@commands.command("rotate")
def rotate(as_json: AsJson = False) -> None:
    """Make a key that takes over by itself once everybody can have it; no token is refused meanwhile."""
    # The longest there may be: the lifetime that the servers give is not known to this shell.
    lifetime = timedelta(seconds=MAX_LIFETIME_SECONDS)
    key = run_with_pool(
        DatabaseSettings, lambda pool: RotateKeys(pool).rotate(token_lifetime=lifetime, actor=ACTOR), command=_COMMAND
    )
    told = f"key {key.kid} is published now and signs from {key.signs_from:%Y-%m-%d %H:%M:%S} UTC"
    show_done(told, {"kid": key.kid, "signs_from": key.signs_from}, as_json)


@commands.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the keys and what each is for at the moment."""
    keys = run_with_pool(DatabaseSettings, lambda pool: RotateKeys(pool).list_keys(), command=_COMMAND)
    show(_describe(keys), as_json, _COLUMNS)


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
