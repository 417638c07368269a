"""Everything about this service that an operator can set."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from service_chassis import process_settings
from service_chassis.database.redis_url import require_redis_url
from service_chassis.process_settings import (
    CONNECTIONS,
    NOT_EMPTY,
    RETENTION_DAYS,
    RETENTION_SECONDS,
    admin_port_variable,
    ops_port_variable,
    port_variable,
    within,
)
from service_chassis.settings import InvalidSettings, variable

PREFIX = "METERING_"

SCOPES = ("events", "admin")
_KEY_ENTRY = re.compile(r"(events|admin):([a-z0-9_-]{1,64}):([0-9a-fA-F]{64})")


class DatabaseSettings(process_settings.DatabaseSettings):
    """What operators' commands need: the database and nothing else."""

    prefix = PREFIX


@dataclass(frozen=True, kw_only=True)
class MeteringSettings(process_settings.AdminSettings):
    """The metering service's settings, each read from its environment variable."""

    prefix = PREFIX

    port: int = port_variable(8083)
    ops_port: int = ops_port_variable(8086)
    admin_port: int = admin_port_variable(8088)
    default_policy: str = variable(
        "DEFAULT_POLICY", "Policy of a client that has none assigned.", default="free", validate=NOT_EMPTY
    )
    postgres_pool_size: int = variable(
        "POSTGRES_POOL_SIZE",
        "Most connections to PostgreSQL for decisions and charges. Everything else uses half as many again, and "
        "readiness one.",
        unit="connections",
        default=10,
        validate=CONNECTIONS,
    )
    redis_url: str = variable(
        "REDIS_URL",
        "Redis or Valkey for request rates, or a node of a cluster of them, as a redis:// URL.",
        validate=require_redis_url,
    )
    redis_timeout_seconds: float = variable(
        "REDIS_TIMEOUT_SECONDS",
        "How long a rate check may take; then requests pass without one.",
        unit="seconds",
        default=0.1,
        validate=within(0, 30, is_more=True),
    )
    hold_retention_seconds: int = variable(
        "HOLD_RETENTION_SECONDS",
        "How long a released hold is remembered, so that a late authorize of it is refused. At least ten times the "
        "longest request.",
        unit="seconds",
        default=86_400,
        validate=RETENTION_SECONDS,
    )
    refusal_retention_days: int = variable(
        "REFUSAL_RETENTION_DAYS",
        "How long it is known why and when events were refused; their sums by day stay.",
        unit="days",
        default=35,
        validate=RETENTION_DAYS,
    )
    shadow_retention_days: int = variable(
        "SHADOW_RETENTION_DAYS",
        "How long it is known what policies in shadow mode would have refused.",
        unit="days",
        default=100,
        validate=RETENTION_DAYS,
    )
    receipt_retention_days: int = variable(
        "RECEIPT_RETENTION_DAYS",
        "How long the receipt of a charge says what stood at each limit; the charge itself stays for ever.",
        unit="days",
        default=400,
        validate=RETENTION_DAYS,
    )
    service_keys: tuple[str, ...] = variable(
        "SERVICE_KEYS",
        "Keys that callers may use: scope:name:sha256 of the key in hex, comma separated; scope is events or admin. "
        "A hold is the name's that made it. Two keys of a name may live at once, for rotation.",
    )

    def name_secrets(self) -> Mapping[str, Sequence[str | None]]:
        """Return the secrets by their variable, of the service keys the hashes."""
        return {
            **super().name_secrets(),
            f"{PREFIX}REDIS_URL": [urlsplit(self.redis_url).password],
            f"{PREFIX}SERVICE_KEYS": [entry.rpartition(":")[2].strip().lower() for entry in self.service_keys],
        }


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """What a key opens. `name` is whose holds are its own, and stands in the audit trail of admin changes."""

    scope: str
    name: str


def read_service_keys(entries: Iterable[str]) -> Mapping[bytes, ServiceKey]:
    """Return the keys of `scope:name:sha256hex` entries by their SHA-256. Raises InvalidSettings.

    A key is random and long, so its plain hash is safe to keep and to look up.
    """
    keys: dict[bytes, ServiceKey] = {}
    for entry in entries:
        match = _KEY_ENTRY.fullmatch(entry.strip())
        if match is None:
            raise InvalidSettings(
                f"{PREFIX}SERVICE_KEYS: each entry must be scope:name:SHA256, the scope events or admin, the name of "
                "1 to 64 small letters, digits, _ and -, the hash in hex"
            )
        keys[bytes.fromhex(match[3])] = ServiceKey(match[1], match[2])
    return keys
