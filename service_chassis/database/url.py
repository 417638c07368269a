"""One reading of a database's URL, for what serves, what migrates and the operators' commands alike.

It is libpq's: the parameters are those of its documentation ("Parameter Key Words"). Two libraries connect here, and
what only one of them understands is translated or refused by name. No error holds a part of the URL's values, which
may be a secret.
"""

import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
from marshmallow import ValidationError
from psycopg.conninfo import conninfo_to_dict

from service_chassis.database.tls_files import require_file, require_tls_files

BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
"""A % that begins no code such as %40."""

_SCHEMES = ("postgresql://", "postgres://")
_FORM = "expected postgresql://user:password@host:port/database"

_BOTH = frozenset(
    {
        "host",
        "port",
        "user",
        "password",
        "passfile",
        "dbname",
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
_OURS = frozenset({"application_name", "fallback_application_name"})
"""What is left to us, in any words, as with _NUMBERS and much of _VALUES: every wait is bounded, every connection is
named, and text is UTF-8."""
_NUMBERS = frozenset(
    {"connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}
)
_MAX_NUMBER = 2**31 - 1
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_VERIFYING = ("verify-ca", "verify-full")
_SWITCH = ("0", "1")
_VALUES: Mapping[str, tuple[str, ...]] = {
    "sslmode": ("disable", "allow", "prefer", "require", *_VERIFYING),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "gsslib": ("gssapi",),
    "channel_binding": ("disable", "prefer"),
    "gssencmode": ("disable", "prefer"),
    "gssdelegation": _SWITCH,
    "sslcertmode": ("allow",),
    "sslsni": _SWITCH,
    "sslcompression": _SWITCH,
    "keepalives": _SWITCH,
    "load_balance_hosts": ("disable",),
    "client_encoding": ("utf8", "UTF8", "utf-8", "UTF-8"),
    "replication": ("false", "off", "no", "0"),
}
"""What is had in these values only: the libraries know no others, or not both of them do."""
_OPTIONS = re.compile(r"\s*((-c\s*|--)[\w.-]+=(\\.|[^\s\\])*(\s+|$))*")
"""Settings of the server as its command line takes them."""
_HOST = re.compile(r"[\w.-]+|[0-9a-f:.]*:[0-9a-f:.]*(%[\w.-]+)?", re.ASCII | re.IGNORECASE)
_DEFAULT_PORT = "5432"
_READ_BY_ONE = (
    *("PGOPTIONS", "PGSERVICE", "PGSERVICEFILE", "PGSYSCONFDIR", "PGHOSTADDR", "PGCONNECT_TIMEOUT", "PGREQUIREAUTH"),
    *("PGCHANNELBINDING", "PGGSSENCMODE", "PGGSSDELEGATION", "PGREQUIRESSL", "PGSSLCERTMODE", "PGREQUIREPEER"),
    *("PGLOADBALANCEHOSTS", "PGCLIENTENCODING", "PGDATESTYLE", "PGTZ", "PGGEQO", "PGAPPNAME"),
)
"""Variables of libpq that change what one of the libraries does and not, or not alike, what the other one does."""


def read_database_url(text: str) -> dict[str, str]:
    """Return the parameters of a database's URL by name, as libpq calls them, with a port for each host.

    Raises ValidationError for what either library cannot use, files that cannot be read included.
    """
    if not text.startswith(_SCHEMES):
        raise ValidationError(f"Is not the URL of a PostgreSQL database; {_FORM}.")
    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(text).items()}
    except psycopg.ProgrammingError:
        raise ValidationError(_explain(text)) from None  # its words quote what they are about
    except UnicodeError:
        raise ValidationError("Holds what is no text in UTF-8, perhaps in a code such as %FF.") from None
    for name, value in parameters.items():
        _require_value(name, value)
    given = [name for name, _ in _split_query(text)]
    if twice := [name for name in parameters if given.count(name) > 1]:
        raise ValidationError(f"Gives the parameter {twice[0]} twice.")
    hosts = parameters.get("host", "").split(",")
    parameters["port"] = ",".join(
        _list_ports(text, hosts, parameters.get("port", "").split(","), parameters.get("dbname", ""))
    )
    _require_tls(parameters)
    return parameters


def ignore_what_one_library_reads() -> None:
    """Take out of the environment what would have `migrate` connect otherwise than what serves."""
    for name in _READ_BY_ONE:
        os.environ.pop(name, None)


def _require_value(name: str, value: str) -> None:
    if name not in _BOTH and name not in _OURS and name not in _VALUES and name not in _NUMBERS:
        raise ValidationError(f"Has the parameter {name}, which cannot be used here.")
    if name in _VALUES and value not in _VALUES[name]:
        allowed = " or ".join(_VALUES[name])
        raise ValidationError(f"Asks with {name} for what cannot be had here; it may be {allowed}.")
    if name in _NUMBERS and not (_is_number(value) and int(value) <= _MAX_NUMBER):
        raise ValidationError(f"Has in {name} what is no whole number from 0 to {_MAX_NUMBER}.")
    if name == "options" and not _OPTIONS.fullmatch(value):
        raise ValidationError("Has in options what is not of the form -c name=value.")
    if name == "passfile":
        require_file(name, value)


def _list_ports(text: str, hosts: Sequence[str], ports: Sequence[str], dbname: str) -> list[str]:
    """Return the port of each host."""
    if any(mark in host for host in hosts for mark in "@:[]") and "[" not in text:
        raise ValidationError("Has an @ or : in user or password, which must be written %40 or %3A.")
    if "@" in dbname and "@" not in re.split("[/?]", text.partition("://")[2])[0]:
        raise ValidationError("Has an @ behind the first /, which in a password must be written %2F.")
    if not all(map(is_host, hosts)):
        raise ValidationError(f"Names no host, or what cannot be one; {_FORM}, or ?host=/directory of a socket.")
    if not all(_is_number(port) for port in ports if port):
        raise ValidationError("Has a port that is not a number. Before the @, a / must be written %2F.")
    if not all(1 <= int(port) <= 65_535 for port in ports if port):
        raise ValidationError("Has a port that is not between 1 and 65535.")
    if len(ports) not in (1, len(hosts)):
        raise ValidationError("Has neither one port for all hosts nor one for each.")
    return [ports[index % len(ports)] or _DEFAULT_PORT for index in range(len(hosts))]


def is_host(host: str) -> bool:
    """Tell whether this is a socket's directory, or can be asked of a name server."""
    try:
        return host.startswith("/") or bool(_HOST.fullmatch(host.encode("idna").decode()))
    except UnicodeError:
        return False


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len(str(_MAX_NUMBER))


def _require_tls(parameters: Mapping[str, str]) -> None:
    """Raise ValidationError unless the files are what they should be, and what belongs together is there.

    Both libraries find out when they connect only, in unlike words; one of them does not mind whose a key is.
    """
    mode = parameters.get("sslmode", "prefer")
    if mode in _VERIFYING and "sslrootcert" not in parameters:
        raise ValidationError(f"Asks with sslmode for {mode}, which needs the issuers' certificates in sslrootcert.")
    if parameters.get("sslnegotiation") == "direct" and mode not in ("require", *_VERIFYING):
        raise ValidationError("Asks with sslnegotiation for direct, which needs an sslmode of require or more.")
    versions = [
        parameters.get(f"ssl_{end}_protocol_version", default)
        for end, default in (("min", _TLS_VERSIONS[0]), ("max", _TLS_VERSIONS[-1]))
    ]
    if versions != sorted(versions):
        raise ValidationError("Asks with ssl_min_protocol_version for more than with ssl_max_protocol_version.")
    require_tls_files(
        parameters,
        trusted=("sslrootcert", "sslcrl"),
        certificate="sslcert",
        key="sslkey",
        password="sslpassword",  # noqa: S106 - a name
    )
    for name in ("sslkey", "passfile"):
        if name in parameters and _is_open_to_others(name, Path(parameters[name]).stat()):
            raise ValidationError(
                f"Names in {name} a file that others may read; it must be its owner's alone (0600)."
            )


def _is_open_to_others(name: str, status: os.stat_result) -> bool:
    """Tell whether libpq would pass the file over; a key that is root's may be read by a group."""
    allowed = 0o740 if name == "sslkey" and status.st_uid == 0 else 0o700
    return bool(stat.S_IMODE(status.st_mode) & ~allowed)


def as_asyncpg_url(text: str) -> str:
    """Return the URL in the words of asyncpg, which takes what it does not know for a setting of the server."""
    known = {name: value for name, value in read_database_url(text).items() if name in _BOTH}
    known["host"] = ",".join(f"[{host}]" if ":" in host else host for host in known["host"].split(","))
    return f"postgresql://?{urlencode(known, quote_via=quote)}"


def with_database(text: str, database: str) -> str:
    """Return the URL of another database of the same server. Raises ValidationError."""
    rest = read_database_url(text)
    user, password = rest.pop("user", ""), rest.pop("password", "")
    hosts, ports = rest.pop("host").split(","), rest.pop("port").split(",")
    places = [
        f"{quote(host, safe='') if ':' not in host else f'[{host}]'}:{port}"
        for host, port in zip(hosts, ports, strict=True)
    ]
    secret = f":{quote(password, safe='')}" if password else ""
    owner = f"{quote(user, safe='')}{secret}@" if user else ""
    rest.pop("dbname", None)
    query = f"?{urlencode(rest, quote_via=quote)}" if rest else ""
    return f"postgresql://{owner}{','.join(places)}/{quote(database, safe='')}{query}"


def _split_query(text: str) -> list[tuple[str, str]]:
    """Return names and values as they are written: in user or password, a ? begins no parameters."""
    query = text.partition("@")[2].partition("?")[2] or text.rpartition("?")[2]
    return [(name, value) for name, equals, value in (part.partition("=") for part in query.split("&")) if equals]


def _explain(text: str) -> str:
    given = _split_query(text)
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    unknown = [name for name, _ in given if name not in known and name.isidentifier()]
    unescaped = [name for name, value in given if name in known and "=" in value]
    if BARE_PERCENT.search(text):
        return "Has a % that begins no code such as %40: in user and password it must be written %25."
    if unknown:
        return f"Has the parameter {unknown[0]}, which PostgreSQL's client library does not know."
    if unescaped:
        return f"Has in {unescaped[0]} an = that must be written %3D."
    return f"Cannot be read; {_FORM}, with special characters in user and password written as %40 and the like."
