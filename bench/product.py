"""The product as a question measures it: its services, a policy and credits for its clients, its own audits."""

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.processes import Server
from local_stack.ports import LOOPBACK_OPENER
from local_stack.processes import REPOSITORY
from local_stack.service_environment import ServiceEnvironment

POLICY = {
    "rates": [{"name": "r", "limit": 1_000_000, "periodSeconds": 1, "burst": 1_000_000}],
    "prices": {"plan_play.created": 1, "plan_play.completed": 1},
    "credits": "prepaid",
    "mode": "enforce",
}
"""Both gates are passed in earnest and neither refuses: the peers check a rate and debit credits, too."""
CREDITS = 10**12
SEEDING_THREADS = 8
SEND_TIMEOUT_SECONDS = 30.0

VARIABLES = {
    "CATALOG_LOG_LEVEL": "warning",
    "ACTIVITY_LOG_LEVEL": "warning",
    "METERING_LOG_LEVEL": "warning",
    "CATALOG_TOKEN_LIFETIME_SECONDS": "86400",
    "METERING_DEFAULT_POLICY": "bench",
}
"""No line per request: the peers write none either."""


def send(method: str, url: str, body: Any = None, *, bearer: str | None = None) -> Any:
    """Send one request and answer the JSON that comes back. Raises BenchError for anything but success."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with LOOPBACK_OPENER.open(request, timeout=SEND_TIMEOUT_SECONDS) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        raise BenchError(f"{method} {url} was answered {error.code}: {error.read(500)!r}") from error
    except OSError as error:
        raise BenchError(f"{method} {url}: {error}") from error


@dataclass(frozen=True)
class Product:
    """The services of one question, on databases of their own."""

    environments: Mapping[str, ServiceEnvironment]
    servers: Mapping[str, Server]
    secrets: Mapping[str, str]
    directory: Path

    def url(self, service: str) -> str:
        """Where a service is."""
        return self.environments[service].url

    @property
    def events_key(self) -> str:
        """Metering's key for events."""
        return self.secrets["events_key"]

    @property
    def admin_key(self) -> str:
        """Metering's key for operators."""
        return self.secrets["admin_key"]

    def grant_credits(self, clients: Sequence[str]) -> None:
        """Give clients credits that do not end; the bench's policy is their default."""
        url = self.url("metering")

        def grant(client: str) -> None:
            body = {"grantId": f"bench-{client}", "credits": CREDITS, "create": True}
            send("POST", f"{url}/internal/clients/{client}/grants", body, bearer=self.admin_key)

        with ThreadPoolExecutor(SEEDING_THREADS) as pool:
            list(pool.map(grant, clients))

    def audit(self, *services: str) -> list[str]:
        """Run the services' own audits; answer what they find, [] when all is sound.

        With `activity`, every play is held against its charge.
        """
        key_file = self.directory / "admin.key"
        key_file.write_text(self.admin_key)
        faults = []
        for service in services:
            arguments = {
                # Holds of authorizations without a fact are nobody's to resolve here.
                "metering": ["--unresolved-after-seconds", "1e9"],
                "activity": [
                    *("--metering-url", self.url("metering"), "--metering-key-file", str(key_file)),
                    *("--in-flight-seconds", "0"),
                ],
            }[service]
            done = self.command(service, "audit", *arguments)
            if done.returncode != 0:
                faults.append(f"{service}'s audit failed: {(done.stdout + done.stderr).strip()[-800:]}")
        return faults

    def command(self, service: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of a service's own commands with its settings."""
        return run_command(self.environments[service], *arguments)


def run_command(environment: ServiceEnvironment, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of a service's own commands to its end."""
    return subprocess.run(
        environment.service.command(*arguments),
        env={**os.environ, **environment.variables},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
