"""Everything about this service that an operator can set."""

from dataclasses import dataclass

from service_chassis import settings
from service_chassis.settings import POSITIVE, ops_port_variable, port_variable, variable

PREFIX = "ACTIVITY_"


class DatabaseSettings(settings.DatabaseSettings):
    """What operators' commands need: the database and nothing else."""

    prefix = PREFIX


@dataclass(frozen=True, kw_only=True)
class ActivitySettings(settings.ProcessSettings):
    """The activity service's settings, each read from its environment variable."""

    prefix = PREFIX

    port: int = port_variable(8082)
    ops_port: int = ops_port_variable(8085)
    postgres_pool_size: int = variable(
        "POSTGRES_POOL_SIZE",
        "Most connections to PostgreSQL for short requests. Long lists use up to half as many again, and what "
        "requests share and the background work a quarter.",
        unit="connections",
        default=20,
        validate=POSITIVE,
    )
    postgres_role: str = variable(
        "POSTGRES_ROLE",
        "The role to act as while serving: it owns nothing and sees one client at a time. Empty: the one of the URL.",
        default="activity_service",
    )
    token_issuer: str = variable(
        "TOKEN_ISSUER", "The `iss` claim that an access token must have.", default="catalog_service"
    )
    token_audience: str = variable(
        "TOKEN_AUDIENCE", "The `aud` claim that an access token must have.", default="plans-api"
    )
    jwks_url: str = variable("JWKS_URL", "Where the issuer publishes its signing keys.")
    metering_url: str = variable("METERING_URL", "Root of the metering service, without a slash at the end.")
    metering_key: str = variable("METERING_KEY", "Service key of scope `events` for metering.")
    metering_deadline_seconds: float = variable(
        "METERING_DEADLINE_SECONDS",
        "How long a request waits for metering's decision, all tries together, before it is answered 500.",
        unit="seconds",
        default=2.0,
        validate=POSITIVE,
    )
    requests_under_way_limit: int = variable(
        "REQUESTS_UNDER_WAY_LIMIT",
        "Most creates and first completions under way in a process; beyond it they are answered 503 at once.",
        unit="requests",
        default=512,
        validate=POSITIVE,
    )
    resolve_after_seconds: int = variable(
        "RESOLVE_AFTER_SECONDS",
        "Age at which a hold counts as left behind; far above what a request may take.",
        unit="seconds",
        default=30,
        validate=POSITIVE,
    )
    sweep_interval_seconds: float = variable(
        "SWEEP_INTERVAL_SECONDS",
        "Pause between two searches for holds left behind.",
        unit="seconds",
        default=5.0,
        validate=POSITIVE,
    )
    relay_poll_seconds: float = variable(
        "RELAY_POLL_SECONDS",
        "Pause between two looks for events to settle, when no commit calls earlier.",
        unit="seconds",
        default=1.0,
        validate=POSITIVE,
    )
