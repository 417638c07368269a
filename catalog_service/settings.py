"""Everything about this service that an operator can set."""

from dataclasses import dataclass

from marshmallow.validate import Range

from service_chassis.settings import LOG_LEVEL, PORT, POSITIVE, variable

_LONGEST_TOKEN_LIFETIME_SECONDS = 24 * 60 * 60
"""A stolen token is good for so long at most."""


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """What the operator's commands need: the database and nothing else."""

    postgres_dsn: str = variable("CATALOG_POSTGRES_DSN", "URL of the service's own PostgreSQL database.")


@dataclass(frozen=True, kw_only=True)
class CatalogSettings(DatabaseSettings):
    """The catalog service's settings, each read from its environment variable."""

    postgres_pool_size: int = variable(
        "CATALOG_POSTGRES_POOL_SIZE",
        "Most connections to PostgreSQL.",
        unit="connections",
        default=10,
        validate=POSITIVE,
    )
    postgres_role: str = variable(
        "CATALOG_POSTGRES_ROLE",
        "The role to act as while serving: it owns nothing and sees one client at a time. Empty: the one of the URL.",
        default="catalog_service",
    )
    host: str = variable("CATALOG_HOST", "Address the API listens on.", default="127.0.0.1")
    port: int = variable("CATALOG_PORT", "Port the API listens on.", default=8081, validate=PORT)
    ops_host: str = variable("CATALOG_OPS_HOST", "Address that health and metrics listen on.", default="127.0.0.1")
    ops_port: int = variable(
        "CATALOG_OPS_PORT", "Port that health and metrics listen on.", default=8084, validate=PORT
    )
    log_level: str = variable(
        "CATALOG_LOG_LEVEL", "debug, info, warning or error.", default="info", validate=LOG_LEVEL
    )
    token_issuer: str = variable(
        "CATALOG_TOKEN_ISSUER", "The `iss` claim of the tokens issued.", default="catalog_service"
    )
    token_audience: str = variable(
        "CATALOG_TOKEN_AUDIENCE", "The `aud` claim of the tokens issued.", default="plans-api"
    )
    token_lifetime_seconds: int = variable(
        "CATALOG_TOKEN_LIFETIME_SECONDS",
        "How long an access token is good.",
        unit="seconds",
        default=900,
        validate=Range(min=1, max=_LONGEST_TOKEN_LIFETIME_SECONDS),
    )
    encoded_plans_limit_bytes: int = variable(
        "CATALOG_ENCODED_PLANS_LIMIT_BYTES",
        "Memory for encoded answers of get-plans; the least recently used go first.",
        unit="bytes",
        default=64 * 1024 * 1024,
        validate=Range(min=0),
    )
