"""Everything about this service that an operator can set."""

from dataclasses import dataclass

from service_chassis.settings import LOG_LEVEL, PORT, POSITIVE, variable


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """What the operator's commands need: the database and nothing else."""

    postgres_dsn: str = variable("ACTIVITY_POSTGRES_DSN", "URL of the service's own PostgreSQL database.")


@dataclass(frozen=True, kw_only=True)
class ActivitySettings(DatabaseSettings):
    """The activity service's settings, each read from its environment variable."""

    postgres_pool_size: int = variable(
        "ACTIVITY_POSTGRES_POOL_SIZE",
        "Most connections to PostgreSQL for short requests. Long lists use up to half as many again, and what "
        "requests share and the background work a quarter.",
        unit="connections",
        default=20,
        validate=POSITIVE,
    )
    postgres_role: str = variable(
        "ACTIVITY_POSTGRES_ROLE",
        "The role to act as while serving: it owns nothing and sees one client at a time. Empty: the one of the URL.",
        default="activity_service",
    )
    host: str = variable("ACTIVITY_HOST", "Address the API listens on.", default="127.0.0.1")
    port: int = variable("ACTIVITY_PORT", "Port the API listens on.", default=8082, validate=PORT)
    ops_host: str = variable("ACTIVITY_OPS_HOST", "Address that health and metrics listen on.", default="127.0.0.1")
    ops_port: int = variable(
        "ACTIVITY_OPS_PORT", "Port that health and metrics listen on.", default=8085, validate=PORT
    )
    log_level: str = variable(
        "ACTIVITY_LOG_LEVEL", "debug, info, warning or error.", default="info", validate=LOG_LEVEL
    )
    token_issuer: str = variable(
        "ACTIVITY_TOKEN_ISSUER", "The `iss` claim that an access token must have.", default="catalog_service"
    )
    token_audience: str = variable(
        "ACTIVITY_TOKEN_AUDIENCE", "The `aud` claim that an access token must have.", default="plans-api"
    )
    jwks_url: str = variable("ACTIVITY_JWKS_URL", "Where the issuer publishes its signing keys.")
    metering_url: str = variable("ACTIVITY_METERING_URL", "Root of the metering service, without a slash at the end.")
    metering_key: str = variable("ACTIVITY_METERING_KEY", "Service key of scope `events` for metering.")
    metering_deadline_seconds: float = variable(
        "ACTIVITY_METERING_DEADLINE_SECONDS",
        "How long a request waits for metering's decision, all tries together, before it is answered 500.",
        unit="seconds",
        default=2.0,
        validate=POSITIVE,
    )
    requests_under_way_limit: int = variable(
        "ACTIVITY_REQUESTS_UNDER_WAY_LIMIT",
        "Most creates and first completions under way in a process; beyond it they are answered 503 at once.",
        unit="requests",
        default=512,
        validate=POSITIVE,
    )
    resolve_after_seconds: int = variable(
        "ACTIVITY_RESOLVE_AFTER_SECONDS",
        "Age at which a hold counts as left behind; far above what a request may take.",
        unit="seconds",
        default=30,
        validate=POSITIVE,
    )
    sweep_interval_seconds: float = variable(
        "ACTIVITY_SWEEP_INTERVAL_SECONDS",
        "Pause between two searches for holds left behind.",
        unit="seconds",
        default=5.0,
        validate=POSITIVE,
    )
    relay_poll_seconds: float = variable(
        "ACTIVITY_RELAY_POLL_SECONDS",
        "Pause between two looks for events to settle, when no commit calls earlier.",
        unit="seconds",
        default=1.0,
        validate=POSITIVE,
    )
    cursor_secret: str = variable("ACTIVITY_CURSOR_SECRET", "Seals page cursors; the same in every process.")
