"""Settings that the services have in common, and the bounds of theirs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from marshmallow import ValidationError
from marshmallow.validate import Length, Range

from service_chassis.database.url import is_host, read_database_url
from service_chassis.schema.fields import one_of
from service_chassis.settings import variable

_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?")
_ROLE = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")


def within(least: float, most: float, *, is_more: bool = False) -> Range:
    """Make the validator of a number from `least` to `most`, or, with `is_more`, above `least`."""
    words = f"Must be more than {least} and {most} at most." if is_more else f"Must be from {least} to {most}."
    return Range(min=least, max=most, min_inclusive=not is_more, error=words)


PORT = within(1, 65_535)
CONNECTIONS = within(1, 1_000)
"""A pool takes memory for each that it may open, and servers have a few hundred."""
ONE_HOUR_SECONDS = 3_600
WORKERS = within(1, 64)
PAUSE_SECONDS = within(0, ONE_HOUR_SECONDS, is_more=True)
RETENTION_SECONDS = within(900, 366 * 24 * ONE_HOUR_SECONDS)
"""Of what is kept so that what comes late is known; far longer would only fill tables."""
RETENTION_DAYS = within(1, 36_500)
"""Of what is kept to be looked up."""
NOT_EMPTY = Length(min=1, error="Must not be empty.")
LOG_LEVEL = one_of("debug", "info", "warning", "error")
"""Validators of settings that several services have."""


def require_http_url(text: str) -> None:
    """Raise ValidationError, in words without values, unless `text` is a URL that can be called as it is.

    A name and password, a query or a fragment would be left out, or sent where nobody asks for them.
    """
    try:
        parts = urlsplit(text)
        is_more = "@" in parts.netloc or "?" in text or "#" in text or any(each.isspace() for each in text)
        is_url = parts.scheme in ("http", "https") and is_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise ValidationError("Must be a URL: http://host:port, or https.")
    if is_more:
        raise ValidationError("Must be a URL without user, password, query and fragment (no @, ? or #).")


def require_origins(origins: Sequence[str]) -> None:
    """Raise ValidationError unless each is `*` or an origin as browsers send it, such as https://app.example.com."""
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValidationError("Each must be * or scheme://host[:port] in small letters, without a path.")


def cors_origins_variable() -> Any:
    """Declare the field of the origins whose pages may call a public API."""
    return variable(
        "CORS_ORIGINS",
        "Origins of web pages that may call the API from a browser, such as https://app.example.com, comma "
        "separated; * for all. None without it.",
        default=(),
        validate=require_origins,
    )


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """What operators' commands need. A service gives its `prefix`, which each variable's name begins with."""

    prefix: ClassVar[str]
    postgres_dsn: str = variable(
        "POSTGRES_DSN",
        "URL of the service's own PostgreSQL database: postgresql://user:password@host:port/database.",
        validate=read_database_url,
    )


@dataclass(frozen=True, kw_only=True)
class ProcessSettings(DatabaseSettings):
    """What every service's process has; a service gives its own ports."""

    host: str = variable("HOST", "Address the API listens on.", default="127.0.0.1", validate=NOT_EMPTY)
    port: int
    ops_host: str = variable(
        "OPS_HOST", "Address that health and metrics listen on.", default="127.0.0.1", validate=NOT_EMPTY
    )
    ops_port: int
    postgres_pooler: bool = variable(
        "POSTGRES_POOLER",
        "true: a pooler that shares sessions is in front of the database, such as PgBouncer in transaction mode. "
        "Role and settings come with the login then (`deploy/pooler.sql`), and are verified.",
        default=False,
    )
    workers: int = variable(
        "WORKERS",
        "Processes that share the port, one a core. Each has pools and bounds of its own: connections to the "
        "database are this many times those of one.",
        unit="processes",
        default=1,
        validate=WORKERS,
    )
    log_level: str = variable("LOG_LEVEL", "debug, info, warning or error.", default="info", validate=LOG_LEVEL)
    drain_seconds: float = variable(
        "DRAIN_SECONDS",
        "How long a process that was told to stop is not ready and serves on, until no proxy sends it requests.",
        unit="seconds",
        default=0.0,
        validate=within(0, ONE_HOUR_SECONDS),
    )
    keep_alive_seconds: float = variable(
        "KEEP_ALIVE_SECONDS",
        "How long a caller's connection may be without a request. Longer than what a proxy keeps its own for.",
        unit="seconds",
        default=75.0,
        validate=PAUSE_SECONDS,
    )

    def name_secrets(self) -> Mapping[str, Sequence[str | None]]:
        """Return the secrets by their variable, of a key that is kept as a hash its SHA-256 in hex."""
        dsns = {f"{self.prefix}POSTGRES_DSN": self.postgres_dsn, **self.name_other_dsns()}
        return {variable: [_password_of(dsn)] for variable, dsn in dsns.items() if dsn}

    def name_other_dsns(self) -> Mapping[str, str]:
        """Return the URLs of sessions that differ from the others by their variable; empty where there is none."""
        return {}


@dataclass(frozen=True, kw_only=True)
class AdminSettings(ProcessSettings):
    """What a process has whose service is administered over HTTP, on a listener of its own."""

    admin_host: str = variable(
        "ADMIN_HOST", "Address that administration listens on.", default="127.0.0.1", validate=NOT_EMPTY
    )
    admin_port: int


def other_dsn_variable(name: str, purpose: str) -> Any:
    """Declare the URL by which sessions that differ from the others reach the same database."""
    return variable(
        name,
        f"The same database's URL with the login of {purpose}, where a pooler is in front of it. Empty: as the "
        "others.",
        default="",
        validate=lambda dsn: dsn and read_database_url(dsn),
    )


def _password_of(dsn: str) -> str | None:
    """Return the password in a database's URL."""
    # The library drops one that is empty.
    return read_database_url(dsn).get("password", urlsplit(dsn).password)


def port_variable(default: int) -> Any:
    """Declare the port of the API."""
    return variable("PORT", "Port the API listens on.", default=default, validate=PORT)


def require_role(text: str) -> None:
    """Raise ValidationError unless `text` is empty or the name of a role that is not PostgreSQL's own.

    `none` would be taken for no role at all, and row-level security would not hold.
    """
    if text and (text in ("none", "public") or not _ROLE.fullmatch(text)):
        raise ValidationError(
            "Must be the name of a role: 1 to 63 small letters, digits and _, not beginning with a digit or pg_, "
            "and neither none nor public."
        )


def role_variable(default: str) -> Any:
    """Declare the role that a service acts as."""
    return variable(
        "POSTGRES_ROLE",
        f"The role to act as while serving: it owns nothing and sees one client at a time. `migrate` makes another "
        f"than `{default}` one of its members. Empty: the one of the URL.",
        default=default,
        validate=require_role,
    )


def ops_port_variable(default: int) -> Any:
    """Declare the port of health and metrics."""
    return variable("OPS_PORT", "Port that health and metrics listen on.", default=default, validate=PORT)


def admin_port_variable(default: int) -> Any:
    """Declare the port of administration."""
    return variable("ADMIN_PORT", "Port that administration listens on.", default=default, validate=PORT)
