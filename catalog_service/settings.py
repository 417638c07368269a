"""Everything about this service that an operator can set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service_chassis import process_settings
from service_chassis.auth.bearer import MAX_LIFETIME_SECONDS
from service_chassis.auth.service_keys import hashes_of
from service_chassis.process_settings import (
    CONNECTIONS,
    admin_port_variable,
    cors_origins_variable,
    ops_port_variable,
    port_variable,
    role_variable,
    within,
)
from service_chassis.settings import variable

PREFIX = "CATALOG_"


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings(process_settings.DatabaseSettings):
    """What operators' commands need: the database and nothing else."""

    prefix = PREFIX

    postgres_role: str = role_variable("catalog_service")


@dataclass(frozen=True, kw_only=True)
class CatalogSettings(process_settings.AdminSettings, DatabaseSettings):
    """The catalog service's settings, each read from its environment variable."""

    port: int = port_variable(8081)
    ops_port: int = ops_port_variable(8084)
    admin_port: int = admin_port_variable(8087)
    cors_origins: tuple[str, ...] = cors_origins_variable()
    postgres_pool_size: int = variable(
        "POSTGRES_POOL_SIZE",
        "Most connections to PostgreSQL for requests; readiness uses one more.",
        unit="connections",
        default=10,
        validate=CONNECTIONS,
    )
    token_issuer: str = variable("TOKEN_ISSUER", "The `iss` claim of the tokens issued.", default="catalog_service")
    token_audience: str = variable("TOKEN_AUDIENCE", "The `aud` claim of the tokens issued.", default="plans-api")
    token_lifetime_seconds: int = variable(
        "TOKEN_LIFETIME_SECONDS",
        "How long an access token is good.",
        unit="seconds",
        default=900,
        validate=within(1, MAX_LIFETIME_SECONDS),
    )
    encoded_plans_limit_bytes: int = variable(
        "ENCODED_PLANS_LIMIT_BYTES",
        "Memory for encoded responses of get-plans; the least recently used go first.",
        unit="bytes",
        default=64 * 1024 * 1024,
        validate=within(0, 2**40),
    )
    admin_keys: tuple[str, ...] = variable(
        "ADMIN_KEYS",
        "Keys that open administration: name:sha256 of the key in hex, comma separated. The name stands in the audit "
        "trail. Two keys of a name may live at once, for rotation. Without any, nobody is let in.",
        default=(),
    )

    def name_secrets(self) -> Mapping[str, Sequence[str | None]]:
        """Return the secrets by their variable, of the admin keys the hashes."""
        return {**super().name_secrets(), f"{PREFIX}ADMIN_KEYS": hashes_of(self.admin_keys)}
