"""Everything about this service that an operator can set."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

from marshmallow import ValidationError

from service_chassis import process_settings
from service_chassis.auth.service_keys import hashes_of
from service_chassis.database.redis_url import require_redis_url
from service_chassis.process_settings import (
    CONNECTIONS,
    NOT_EMPTY,
    RETENTION_DAYS,
    RETENTION_SECONDS,
    admin_port_variable,
    ops_port_variable,
    other_dsn_variable,
    port_variable,
    require_http_url,
    within,
)
from service_chassis.settings import InvalidSettings, variable

PREFIX = "METERING_"

SCOPES = ("events", "admin")


IPV4_IN_IPV6 = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""Networks whose addresses hold one of IPv4 in their last 32 bits: mapped ones (RFC 4291, 2.5.5.2), and those of
NAT64 (RFC 6052), whose router sends on to it."""
_RECEIVER_NAME = re.compile(r"[a-z0-9_-]{1,64}")
_SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret begins with
_SECRET_BYTES = range(24, 65)
"""Of a webhook's secret: what Standard Webhooks asks for."""


class DatabaseSettings(process_settings.DatabaseSettings):
    """What operators' commands need: the database and nothing else."""

    prefix = PREFIX


@dataclass(frozen=True, kw_only=True)
class WebhookSettings(DatabaseSettings):
    """What operators' commands about webhooks need."""

    webhooks: tuple[str, ...] = variable(
        "WEBHOOKS",
        "Receivers of notices, a line each or comma separated: name, URL and secret with blanks between them. The "
        "secret is `whsec_` and 24 to 64 random bytes in base64; several sign side by side, for rotation.",
        default=(),
    )
    webhook_networks: tuple[str, ...] = variable(
        "WEBHOOK_NETWORKS",
        "Private networks that webhooks may be sent into, such as 10.1.0.0/16, comma separated. Only with it are "
        "http:// URLs accepted.",
        default=(),
    )


@dataclass(frozen=True, kw_only=True)
class MeteringSettings(WebhookSettings, process_settings.AdminSettings):
    """The metering service's settings, each read from its environment variable."""

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
    postgres_charging_dsn: str = other_dsn_variable("POSTGRES_CHARGING_DSN", "decisions and charges")
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

    def name_other_dsns(self) -> Mapping[str, str]:
        """Return the URLs of sessions that differ from the others by their variable; empty where there is none."""
        return {f"{PREFIX}POSTGRES_CHARGING_DSN": self.postgres_charging_dsn}

    def name_secrets(self) -> Mapping[str, Sequence[str | None]]:
        """Return the secrets by their variable, of the service keys the hashes."""
        return {
            **super().name_secrets(),
            f"{PREFIX}REDIS_URL": [urlsplit(self.redis_url).password],
            f"{PREFIX}SERVICE_KEYS": hashes_of(self.service_keys),
            f"{PREFIX}WEBHOOKS": [secret for entry in self.webhooks for secret in entry.split()[2:]],
        }


@dataclass(frozen=True, slots=True)
class Receiver:
    """Whom notices are sent to; a webhook is signed by each of its secrets."""

    name: str
    url: str
    secrets: tuple[str, ...]


def read_networks(entries: Iterable[str]) -> Sequence[IPv4Network | IPv6Network]:
    """Return the private networks that webhooks may be sent into. Raises InvalidSettings."""
    try:
        return [_unwrap(ip_network(entry)) for entry in entries]
    except ValueError:
        raise InvalidSettings(
            f"{PREFIX}WEBHOOK_NETWORKS: each entry must be a network such as 10.1.0.0/16, without host bits"
        ) from None


def _unwrap(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return the IPv4 network that an IPv6 network stands for, else itself."""
    if isinstance(network, IPv6Network) and any(network.subnet_of(each) for each in IPV4_IN_IPV6):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def read_receivers(settings: WebhookSettings) -> Sequence[Receiver]:
    """Return the receivers of `name url secret ...` entries. Raises InvalidSettings, which quotes none of it."""
    receivers: list[Receiver] = []
    for number, entry in enumerate(settings.webhooks, 1):
        name, *rest = entry.split()
        url, secrets = "".join(rest[:1]), rest[1:]
        fault = _find_receiver_fault(name, url, secrets)
        if fault is None and name in {each.name for each in receivers}:
            fault = "its name must not be there twice"
        if fault is None and urlsplit(url).scheme == "http" and not settings.webhook_networks:
            fault = f"its URL must be https, unless {PREFIX}WEBHOOK_NETWORKS allows a private network"
        if fault is not None:
            raise InvalidSettings(f"{PREFIX}WEBHOOKS: entry {number}: {fault}")
        receivers.append(Receiver(name, url, tuple(secrets)))
    return receivers


def _find_receiver_fault(name: str, url: str, secrets: Sequence[str]) -> str | None:
    if not _RECEIVER_NAME.fullmatch(name):
        return "its name must be 1 to 64 small letters, digits, _ and -"
    try:
        require_http_url(url)
    except ValidationError as error:
        return f"its URL m{str(error.messages[0])[1:]}"
    if not secrets or not all(map(_is_secret, secrets)):
        return f"after its URL there must be a secret: {_SECRET_PREFIX} and 24 to 64 bytes in base64"
    return None


def _is_secret(text: str) -> bool:
    """Return whether `text` is a secret as Standard Webhooks has them."""
    try:
        key = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        return False
    return text.startswith(_SECRET_PREFIX) and len(key) in _SECRET_BYTES
