"""One reading of a database's URL, for what serves, what migrates and the operators' commands alike.

It is libpq's: the parameters are those of its documentation ("Parameter Key Words"). Two libraries connect here, and
what only one of them understands is translated or refused by name. No error holds a part of the URL's values, which
may be a secret.
"""

import re
from collections.abc import Mapping
from itertools import zip_longest
from urllib.parse import quote, urlencode

import psycopg
from marshmallow import ValidationError
from psycopg.conninfo import conninfo_to_dict

BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
"""A % that begins no code such as %40."""

_SCHEMES = ("postgresql://", "postgres://")
_FORM = "expected postgresql://user:password@host:port/database"

_ALIKE = frozenset(
    {
        "host",
        "port",
        "user",
        "password",
        "passfile",
        "dbname",
        "service",
        "options",
        "sslmode",
        "sslcert",
        "sslkey",
        "sslrootcert",
        "sslcrl",
        "sslpassword",
        "sslnegotiation",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "target_session_attrs",
        "krbsrvname",
        "gsslib",
    }
)
"""What both libraries do alike."""
_OURS = frozenset(
    {
        "connect_timeout",
        "application_name",
        "fallback_application_name",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "load_balance_hosts",
        "sslsni",
        "sslcompression",
        "gssdelegation",
        "client_encoding",
    }
)
"""What is left to us: every wait is bounded, every connection is named, and text is UTF-8."""
_ONLY: Mapping[str, tuple[str, ...]] = {
    "channel_binding": ("disable", "prefer"),
    "gssencmode": ("disable", "prefer"),
    "sslcertmode": ("allow",),
    "replication": ("false", "off", "no", "0"),
}
"""What is had in these values only."""


def read_database_url(text: str) -> dict[str, str]:
    """Return the parameters of a database's URL by name, as libpq calls them. Raises ValidationError."""
    if not text.startswith(_SCHEMES):
        raise ValidationError(f"Is not the URL of a PostgreSQL database; {_FORM}.")
    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(text).items()}
    except psycopg.ProgrammingError:
        raise ValidationError(_explain(text)) from None  # its words quote what they are about
    if any(mark in parameters.get("host", "") for mark in "@:[]") and "[" not in text:
        raise ValidationError("Has an @ or : in user or password, which must be written %40 or %3A.")
    if not all(port.isdecimal() for port in parameters.get("port", "").split(",") if port):
        raise ValidationError("Has a port that is not a number. Before the @, a / must be written %2F.")
    for name, value in parameters.items():
        if name in _ONLY and value not in _ONLY[name]:
            allowed = " or ".join(_ONLY[name])
            raise ValidationError(f"Asks with {name} for what cannot be had here; it may be {allowed}.")
        if name not in _ALIKE and name not in _OURS and name not in _ONLY:
            raise ValidationError(f"Has the parameter {name}, which cannot be used here.")
    return parameters


def as_asyncpg_url(text: str) -> str:
    """Return the URL in the words of asyncpg, which takes what it does not know for a setting of the server."""
    known = {name: value for name, value in read_database_url(text).items() if name in _ALIKE}
    if "host" in known:
        known["host"] = ",".join(f"[{host}]" if ":" in host else host for host in known["host"].split(","))
    return f"postgresql://?{urlencode(known, quote_via=quote)}"


def with_database(text: str, database: str) -> str:
    """Return the URL of another database of the same server. Raises ValidationError."""
    rest = read_database_url(text)
    user, password = rest.pop("user", ""), rest.pop("password", "")
    hosts = rest.pop("host", "").split(",")
    ports = rest.pop("port", "").split(",")
    places = [quote(host, safe="") if ":" not in host else f"[{host}]" for host in hosts]
    places = [
        f"{place}:{port}" if port else place
        for place, port in zip_longest(places, ports[: len(places)], fillvalue="")
    ]
    secret = f":{quote(password, safe='')}" if password else ""
    owner = f"{quote(user, safe='')}{secret}@" if user else ""
    rest.pop("dbname", None)
    query = f"?{urlencode(rest, quote_via=quote)}" if rest else ""
    return f"postgresql://{owner}{','.join(places)}/{quote(database, safe='')}{query}"


def _explain(text: str) -> str:
    query = text.partition("@")[2].partition("?")[2] or text.rpartition("?")[2]
    names = [part.partition("=")[0] for part in query.split("&") if "=" in part]
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    unknown = [name for name in names if name not in known and name.isidentifier()]
    if BARE_PERCENT.search(text):
        return "Has a % that begins no code such as %40: in user and password it must be written %25."
    if unknown:
        return f"Has the parameter {unknown[0]}, which PostgreSQL's client library does not know."
    return f"Cannot be read; {_FORM}, with special characters in user and password written as %40 and the like."
