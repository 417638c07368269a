"""What can be the URL of the server of request rates, said in words without its values."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from marshmallow import ValidationError

from service_chassis.database.tls_files import require_tls_files
from service_chassis.database.url import BARE_PERCENT, is_host

_FORM = "expected redis://:password@host:port/0, or rediss:// with TLS"
_DATABASE = re.compile(r"[0-9]|1[0-5]")
"""As many as a server has that is not told otherwise."""

_PARAMETERS: Mapping[str, tuple[re.Pattern[str], str]] = {
    "db": (_DATABASE, "a number from 0 to 15"),
    "protocol": (re.compile(r"[23]"), "2 or 3"),
    "client_name": (re.compile(r"[!-~]+"), "ASCII characters without a space"),
}
_FILE = (re.compile(r".+"), "a path")
_TLS_PARAMETERS: Mapping[str, tuple[re.Pattern[str], str]] = {
    "ssl_cert_reqs": (re.compile(r"none|optional|required"), "none, optional or required"),
    "ssl_check_hostname": (re.compile(r"true|false"), "true or false"),
    "ssl_ca_certs": _FILE,
    "ssl_certfile": _FILE,
    "ssl_keyfile": _FILE,
    "ssl_password": (re.compile(r".+"), "a password"),
}
"""What each parameter may be. The client library takes many more, most of them for programs, in any words."""


def require_redis_url(text: str) -> None:
    """Raise ValidationError unless `text` is the URL of a Redis or Valkey server that can be used."""
    if BARE_PERCENT.search(text):
        raise ValidationError("Has a % that begins no code such as %40: in a password it must be written %25.")
    try:
        parts = urlsplit(text)
        port = parts.port
        unquote(text, errors="strict")
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValidationError(
            f"Cannot be read; {_FORM}, with special characters of the password written as %40 and the like."
        )
    if port == 0:
        raise ValidationError("Has a port that is not between 1 and 65535.")
    if parts.fragment:
        raise ValidationError("Has a #, which in a password must be written %23.")
    if parts.scheme == "unix":
        is_placed = parts.path.strip("/") and not parts.hostname
    else:
        is_placed = is_host(unquote(parts.hostname or ""))
        if parts.path.strip("/") and not _DATABASE.fullmatch(parts.path.removeprefix("/").removesuffix("/")):
            raise ValidationError("Names a database that is not a number from 0 to 15.")
    if not is_placed:
        raise ValidationError(f"Names no server; {_FORM}.")
    known = {**_PARAMETERS, **(_TLS_PARAMETERS if parts.scheme == "rediss" else {})}
    given = parse_qsl(parts.query, keep_blank_values=True)
    parameters = dict(given)
    for name, value in given:
        if name in _TLS_PARAMETERS and name not in known:
            raise ValidationError(f"Has the parameter {name}, which needs rediss://.")
        if name not in known:
            raise ValidationError(f"Has the parameter {name}, which cannot be used here.")
        if [each for each, _ in given].count(name) > 1:
            raise ValidationError(f"Gives the parameter {name} twice.")
        form, words = known[name]
        if not form.fullmatch(value):
            raise ValidationError(f"Has in {name} what must be {words}.")
    require_tls_files(
        parameters,
        trusted=("ssl_ca_certs",),
        certificate="ssl_certfile",
        key="ssl_keyfile",
        password="ssl_password",  # noqa: S106 - a name
    )
