"""What metering_service reads from its environment."""

from dataclasses import dataclass

from service_chassis.settings import LOG_LEVEL, PORT, POSITIVE, variable


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """What commands need that work on the database alone."""

    postgres_dsn: str = variable("METERING_POSTGRES_DSN", "URL of the service's own PostgreSQL database.")
    default_policy: str = variable(
        "METERING_DEFAULT_POLICY", "Policy of a client that has none assigned.", default="free"
    )


@dataclass(frozen=True, kw_only=True)
class MeteringSettings(DatabaseSettings):
    """The configuration of one metering process."""

    host: str = variable("METERING_HOST", "Address the internal API listens on.", default="127.0.0.1")
    port: int = variable("METERING_PORT", "Port of the internal API.", default=8083, validate=PORT)
    ops_host: str = variable("METERING_OPS_HOST", "Address of the operations port.", default="127.0.0.1")
    ops_port: int = variable(
        "METERING_OPS_PORT", "Port of /livez, /readyz and /metrics.", default=8086, validate=PORT
    )
    postgres_pool_size: int = variable(
        "METERING_POSTGRES_POOL_SIZE", "Connections at the most.", unit="connections", default=10, validate=POSITIVE
    )
    redis_url: str = variable("METERING_REDIS_URL", "Redis or Valkey for request rates, as a redis:// URL.")
    redis_timeout_seconds: float = variable(
        "METERING_REDIS_TIMEOUT_SECONDS",
        "How long a rate check may take before rates are open.",
        unit="seconds",
        default=0.1,
        validate=POSITIVE,
    )
    service_keys: tuple[str, ...] = variable(
        "METERING_SERVICE_KEYS",
        "Keys that callers may use: scope:sha256 of the key in hex, comma separated; scope is events or admin. "
        "Two keys of a scope may live at once, for rotation.",
    )
    cursor_secret: str = variable("METERING_CURSOR_SECRET", "Seals page cursors; the same in every process.")
    log_level: str = variable(
        "METERING_LOG_LEVEL", "debug, info, warning or error.", default="info", validate=LOG_LEVEL
    )
