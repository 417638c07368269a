"""The settings of each service in a local stack, as the environment variables it reads."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from local_stack.ports import LOOPBACK
from local_stack.topology import GUEST, SERVICES, Service

TOKEN_ISSUER = "catalog_service"  # noqa: S105 - the name in the `iss` claim, no secret
TOKEN_AUDIENCE = "plans-api"  # noqa: S105 - the name in the `aud` claim, no secret
TOKEN_LIFETIME_SECONDS = 900


@dataclass(frozen=True, slots=True)
class ServiceEnvironment:
    """One service's variables, with what the rest of the stack has to know of them."""

    service: Service
    variables: Mapping[str, str]

    @property
    def port(self) -> int:
        """The port of its API."""
        return int(self._value("PORT"))

    @property
    def operations_port(self) -> int:
        """The port of its health and metrics."""
        return int(self._value("OPS_PORT"))

    @property
    def url(self) -> str:
        """The root of its API, without a slash at the end."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def operations_url(self) -> str:
        """The root of its operations port, without a slash at the end."""
        return f"http://{LOOPBACK}:{self.operations_port}"

    @property
    def admin_port(self) -> int | None:
        """The port of its administration, None where it has none."""
        return int(self._value("ADMIN_PORT")) if self.service.admin_port_offset is not None else None

    @property
    def admin_url(self) -> str | None:
        """The root of its administration, without a slash at the end; None where it has none."""
        return f"http://{LOOPBACK}:{self.admin_port}" if self.admin_port is not None else None

    @property
    def console_url(self) -> str:
        """The root of its console, of a service that has one."""
        return f"{self.admin_url}/console"

    @property
    def dsn(self) -> str:
        """Its database."""
        return self._value("POSTGRES_DSN")

    def _value(self, name: str) -> str:
        return self.variables[self.service.prefix + name]


def build_environments(
    port_base: int,
    dsns: Mapping[str, str],
    redis_url: str,
    secrets: Mapping[str, str],
    callers: Mapping[str, str],
) -> dict[str, ServiceEnvironment]:
    """Return each service's variables by its name.

    A variable of a service that is set in the caller's environment (`callers`) wins, whatever it says: that is how
    a test makes one service faster, slower or stricter. Also the ones the stack does not know.
    """
    environments: dict[str, ServiceEnvironment] = {}
    for service in SERVICES:
        overrides = {name: value for name, value in callers.items() if name.startswith(service.prefix)}
        defaults = _common(service, port_base, dsns[service.name])
        match service.name:
            case "catalog":
                defaults |= _catalog(secrets)
            case "metering":
                defaults |= _metering(redis_url, secrets)
            case "activity":
                catalog, metering = environments["catalog"], environments["metering"]
                defaults |= _activity(catalog, metering, secrets)
        environments[service.name] = ServiceEnvironment(service, {**defaults, **overrides})
    return environments


def _common(service: Service, port_base: int, dsn: str) -> dict[str, str]:
    values = {
        "HOST": LOOPBACK,
        "PORT": str(port_base + service.port_offset),
        "OPS_HOST": LOOPBACK,
        "OPS_PORT": str(port_base + service.operations_port_offset),
        "POSTGRES_DSN": dsn,
        "LOG_LEVEL": "info",
    }
    if service.admin_port_offset is not None:
        values |= {"ADMIN_HOST": LOOPBACK, "ADMIN_PORT": str(port_base + service.admin_port_offset)}
    # Somebody's own server, where one is named, may have any password: all of it listens on the loopback address.
    return {"LOCAL_ONLY": "yes"} | {service.prefix + name: value for name, value in values.items()}


def _catalog(secrets: Mapping[str, str]) -> dict[str, str]:
    return {
        "CATALOG_TOKEN_ISSUER": TOKEN_ISSUER,
        "CATALOG_TOKEN_AUDIENCE": TOKEN_AUDIENCE,
        "CATALOG_TOKEN_LIFETIME_SECONDS": str(TOKEN_LIFETIME_SECONDS),
        "CATALOG_ADMIN_KEYS": f"ops:{_sha256(secrets['catalog_admin_key'])}",
    }


def _metering(redis_url: str, secrets: Mapping[str, str]) -> dict[str, str]:
    keys = [
        f"{scope}:{name}:{_sha256(secrets[key])}"
        for scope, name, key in (
            ("events", "activity", "events_key"),
            ("events", GUEST, f"{GUEST}_key"),
            ("admin", "ops", "admin_key"),
        )
    ]
    return {
        "METERING_REDIS_URL": redis_url,
        "METERING_SERVICE_KEYS": ",".join(keys),
    }


def _activity(
    catalog: ServiceEnvironment, metering: ServiceEnvironment, secrets: Mapping[str, str]
) -> dict[str, str]:
    return {
        "ACTIVITY_TOKEN_ISSUER": catalog.variables["CATALOG_TOKEN_ISSUER"],
        "ACTIVITY_TOKEN_AUDIENCE": catalog.variables["CATALOG_TOKEN_AUDIENCE"],
        "ACTIVITY_JWKS_URL": f"{catalog.url}/.well-known/jwks.json",
        "ACTIVITY_METERING_URL": metering.url,
        "ACTIVITY_METERING_KEY": secrets["events_key"],
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
