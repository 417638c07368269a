"""What can be the URL of the server of request rates, said in words without its values."""

import inspect
from urllib.parse import parse_qsl, urlsplit

from marshmallow import ValidationError
from redis.asyncio.connection import SSLConnection, parse_url

from service_chassis.database.url import BARE_PERCENT

_FORM = "expected redis://:password@host:port/0, or rediss:// with TLS"
_OPTIONS = frozenset(
    name
    for kind in SSLConnection.__mro__
    if "__init__" in vars(kind)
    for name in inspect.signature(vars(kind)["__init__"]).parameters
)


def require_redis_url(text: str) -> None:
    """Raise ValidationError unless `text` is the URL of a Redis or Valkey server that can be used."""
    if BARE_PERCENT.search(text):
        raise ValidationError("Has a % that begins no code such as %40: in a password it must be written %25.")
    try:
        parts = urlsplit(text)
        is_placed = bool(parts.path if parts.scheme == "unix" else parts.hostname)
        parse_url(text)
    except ValueError:
        raise ValidationError(
            f"Cannot be read; {_FORM}, with special characters of the password written as %40 and the like."
        ) from None
    if not is_placed:
        raise ValidationError(f"Names no server; {_FORM}.")
    if parts.fragment:
        raise ValidationError("Has a #, which in a password must be written %23.")
    if parts.scheme != "unix" and parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ValidationError("Names a database that is not a number.")
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise ValidationError(f"Has the parameter {name}, which the client library does not know.")
