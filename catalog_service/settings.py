"""Everything about this service that an operator can set."""

from dataclasses import dataclass

from service_chassis.settings import InvalidSettings, variable

_LOG_LEVELS = ("debug", "info", "warning", "error")
_LONGEST_TOKEN_LIFETIME_SECONDS = 24 * 60 * 60
"""A stolen token is good for so long at most."""


@dataclass(frozen=True)
class Settings:
    """The catalog service's settings, each read from its environment variable."""

    postgres_dsn: str = variable("CATALOG_POSTGRES_DSN", "URL of the service's own PostgreSQL database.")
    postgres_pool_size: int = variable(
        "CATALOG_POSTGRES_POOL_SIZE", "Most connections to PostgreSQL.", unit="connections", default=10
    )
    host: str = variable("CATALOG_HOST", "Address the API listens on.", default="127.0.0.1")
    port: int = variable("CATALOG_PORT", "Port the API listens on.", default=8081)
    ops_host: str = variable("CATALOG_OPS_HOST", "Address that health and metrics listen on.", default="127.0.0.1")
    ops_port: int = variable("CATALOG_OPS_PORT", "Port that health and metrics listen on.", default=8084)
    log_level: str = variable("CATALOG_LOG_LEVEL", "debug, info, warning or error.", default="info")
    token_issuer: str = variable(
        "CATALOG_TOKEN_ISSUER", "The `iss` claim of the tokens issued.", default="catalog_service"
    )
    token_audience: str = variable(
        "CATALOG_TOKEN_AUDIENCE", "The `aud` claim of the tokens issued.", default="plans-api"
    )
    token_lifetime_seconds: int = variable(
        "CATALOG_TOKEN_LIFETIME_SECONDS", "How long an access token is good.", unit="seconds", default=900
    )
    encoded_plans_limit_bytes: int = variable(
        "CATALOG_ENCODED_PLANS_LIMIT_BYTES",
        "Memory for encoded answers of get-plans; the least recently used go first.",
        unit="bytes",
        default=64 * 1024 * 1024,
    )

    def __post_init__(self) -> None:
        """Raise InvalidSettings for values that could not work."""
        if self.log_level.lower() not in _LOG_LEVELS:
            raise InvalidSettings(f"CATALOG_LOG_LEVEL: must be one of {', '.join(_LOG_LEVELS)}")
        if not 1 <= self.token_lifetime_seconds <= _LONGEST_TOKEN_LIFETIME_SECONDS:
            raise InvalidSettings(f"CATALOG_TOKEN_LIFETIME_SECONDS: must be 1 to {_LONGEST_TOKEN_LIFETIME_SECONDS}")
        if self.postgres_pool_size < 1:
            raise InvalidSettings("CATALOG_POSTGRES_POOL_SIZE: must be at least 1")
        if self.encoded_plans_limit_bytes < 0:
            raise InvalidSettings("CATALOG_ENCODED_PLANS_LIMIT_BYTES: must not be negative")
