"""Everything about this service that an operator can set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service_chassis import process_settings
from service_chassis.process_settings import (
    CONNECTIONS,
    ONE_HOUR_SECONDS,
    PAUSE_SECONDS,
    RETENTION_SECONDS,
    cors_origins_variable,
    ops_port_variable,
    other_dsn_variable,
    port_variable,
    require_http_url,
    role_variable,
    within,
)
from service_chassis.settings import variable

PREFIX = "ACTIVITY_"


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings(process_settings.DatabaseSettings):
    """What operators' commands need: the database and nothing else."""

    prefix = PREFIX

    postgres_role: str = role_variable("activity_service")


@dataclass(frozen=True, kw_only=True)
class MeteringAccess:
    """How a command reaches metering as the service does, where it is told."""

    prefix = PREFIX

    metering_url: str = variable("METERING_URL", "Root of the metering service.", default="")
    metering_key: str = variable("METERING_KEY", "Service key of scope `events` for metering.", default="")


@dataclass(frozen=True, kw_only=True)
class ActivitySettings(process_settings.ProcessSettings, DatabaseSettings):
    """The activity service's settings, each read from its environment variable."""

    port: int = port_variable(8082)
    ops_port: int = ops_port_variable(8085)
    cors_origins: tuple[str, ...] = cors_origins_variable()
    postgres_pool_size: int = variable(
        "POSTGRES_POOL_SIZE",
        "Most connections to PostgreSQL for requests, of which one client has three quarters at once. What requests "
        "share and the background work use up to a quarter as many again, and readiness one.",
        unit="connections",
        default=20,
        validate=CONNECTIONS,
    )
    postgres_shared_dsn: str = other_dsn_variable(
        "POSTGRES_SHARED_DSN", "what requests share and the background work, which sees the rows of all clients"
    )
    token_issuer: str = variable(
        "TOKEN_ISSUER", "The `iss` claim that an access token must have.", default="catalog_service"
    )
    token_audience: str = variable(
        "TOKEN_AUDIENCE", "The `aud` claim that an access token must have.", default="plans-api"
    )
    jwks_url: str = variable("JWKS_URL", "Where the issuer publishes its signing keys.", validate=require_http_url)
    metering_url: str = variable(
        "METERING_URL", "Root of the metering service, without a slash at the end.", validate=require_http_url
    )
    metering_key: str = variable("METERING_KEY", "Service key of scope `events` for metering.")
    metering_deadline_seconds: float = variable(
        "METERING_DEADLINE_SECONDS",
        "How long a request waits for metering's decision, all tries together, before it is answered 500.",
        unit="seconds",
        default=2.0,
        validate=within(0, 30, is_more=True),
    )
    requests_under_way_limit: int = variable(
        "REQUESTS_UNDER_WAY_LIMIT",
        "Most requests under way in a process that need the database; beyond it they are answered 503 at once. One "
        "client gets at most half of them while another waits.",
        unit="requests",
        default=512,
        validate=within(1, 100_000),
    )
    resolve_after_seconds: int = variable(
        "RESOLVE_AFTER_SECONDS",
        "Age at which a hold counts as left behind; far above what a request may take.",
        unit="seconds",
        default=30,
        validate=within(1, ONE_HOUR_SECONDS),
    )
    hold_retention_seconds: int = variable(
        "HOLD_RETENTION_SECONDS",
        "How long a hold that was given up is remembered, and twice as long as an attempt may stand still and go on. "
        "At least ten times the longest request.",
        unit="seconds",
        default=86_400,
        validate=RETENTION_SECONDS,
    )
    sweep_interval_seconds: float = variable(
        "SWEEP_INTERVAL_SECONDS",
        "Pause between two searches for holds left behind.",
        unit="seconds",
        default=5.0,
        validate=PAUSE_SECONDS,
    )
    relay_poll_seconds: float = variable(
        "RELAY_POLL_SECONDS",
        "Pause between two looks for events that another process left unsettled, or that were postponed.",
        unit="seconds",
        default=2.0,
        validate=PAUSE_SECONDS,
    )

    def name_other_dsns(self) -> Mapping[str, str]:
        """Return the URLs of sessions that differ from the others by their variable; empty where there is none."""
        return {f"{PREFIX}POSTGRES_SHARED_DSN": self.postgres_shared_dsn}

    def name_secrets(self) -> Mapping[str, Sequence[str | None]]:
        """Return the secrets by their variable."""
        return {**super().name_secrets(), f"{PREFIX}METERING_KEY": [self.metering_key]}
