"""Put the demo's data in: once, so that a restart grants nothing again and resets nothing that was changed since.

`python -m local_stack.seed` does the same to servers that SeedSettings names. docker-compose.yml runs it, where it is
asked for.
"""

import asyncio
import json
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urljoin

import asyncpg
from marshmallow import ValidationError

from catalog_service.clients.client import Client, ClientSecret
from catalog_service.clients.store import ClientStore
from catalog_service.plans.store import PlanStore
from local_stack.demo import CLIENTS, PLANS, DemoClient
from local_stack.errors import StackError
from local_stack.ports import LOOPBACK_OPENER
from service_chassis.database.pool import DATABASE_FAULTS
from service_chassis.database.url import as_asyncpg_url
from service_chassis.process_settings import DatabaseSettings, require_http_url
from service_chassis.settings import InvalidSettings, read_settings, variable

REQUEST_TIMEOUT_SECONDS = 10.0
START_TIMEOUT_SECONDS = 60.0
START_POLL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class SeedSettings(DatabaseSettings):
    """Where the data goes: SEED_POSTGRES_DSN is the catalog's database, as the owner of its tables."""

    prefix = "SEED_"

    metering_url: str = variable("METERING_URL", "Root of the metering service.", validate=require_http_url)
    metering_key: str = variable("METERING_KEY", "Service key of scope `admin` for metering.")


def seed_catalog(dsn: str) -> None:
    """Register the demo's clients, each with the demo's plans, in one transaction; one that exists is left alone.

    Through the stores: the catalog's own registration wants secrets that nobody can guess, and these are printed.

    Raises StackError when the URL cannot be used, or the database refuses.
    """
    try:
        asyncio.run(_seed_catalog(as_asyncpg_url(dsn)))
    except ValidationError as error:
        raise StackError(f"{SeedSettings.prefix}POSTGRES_DSN: {' '.join(error.messages)}") from None
    except DATABASE_FAULTS as error:
        raise StackError(f"seeding the catalog failed: {error}") from error


async def _seed_catalog(url: str) -> None:
    now = datetime.now(UTC)
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            clients, plans = ClientStore(connection), PlanStore(connection)
            for demo in CLIENTS:
                name = f"Demo: {demo.client_id}"
                client = Client(demo.client_id, name, demo.may_read_all_clients, disabled_at=None, created_at=now)
                if await clients.insert_client(client):
                    await clients.insert_secret(demo.client_id, ClientSecret.of(demo.client_secret, now))
                    await plans.upsert_plans(demo.client_id, PLANS)
                    await plans.bump_version(demo.client_id)
    finally:
        await connection.close()


def seed_metering(url: str, admin_key: str) -> None:
    """Create policies, assign them, grant credits, through metering's own admin API at `url`.

    The last client's grant is written last. Where it stands, all of this was done before, and is left alone: somebody
    may have changed a policy since. Every call may be repeated, so that a seeding that was cut short is done again.

    Raises StackError with metering's answer when it refuses.
    """
    api = _AdminApi(url, admin_key)
    if api.call("GET", _client_path(CLIENTS[-1], "balance")).get("granted"):
        return
    for client in CLIENTS:
        api.call("PUT", f"/internal/policies/{quote(client.policy_id)}", client.policy)
        api.call("PUT", _client_path(client, "policy"), {"policyId": client.policy_id, "create": True})
        if client.credits:
            grant = {"grantId": f"demo-grant-{client.client_id}", "credits": client.credits, "source": "demo"}
            api.call("POST", _client_path(client, "grants"), grant)


def make_console_link(console_url: str, admin_key: str) -> str:
    """Return the address that logs somebody in to metering's console once, within ten minutes.

    Raises StackError with metering's answer when it refuses.
    """
    link = _AdminApi(console_url, admin_key).call("POST", "/login-links")
    return urljoin(console_url, str(link["path"]))


class _AdminApi:
    """Metering's admin calls, one at a time."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, object]:
        """Send one request and return the answer's object, nothing of what a GET does not find.

        Raises StackError for anything else but success.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, self._headers, method=method)  # noqa: S310 - ours
        try:
            with LOOPBACK_OPENER.open(request, timeout=REQUEST_TIMEOUT_SECONDS) as response:
                return dict(json.loads(response.read()))
        except urllib.error.HTTPError as error:
            if method == "GET" and error.code == 404:
                return {}
            words = error.read(500).decode(errors="replace")
            raise StackError(f"seeding failed: {method} {path} was answered {error.code}: {words}") from error
        except OSError as error:
            raise StackError(f"seeding failed: {method} {path}: {error}") from error


def _client_path(client: DemoClient, thing: str) -> str:
    return f"/internal/clients/{quote(client.client_id)}/{thing}"


def _wait_for(url: str) -> None:
    """Return once metering answers. Raises StackError when that takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        try:
            LOOPBACK_OPENER.open(url + "/openapi.json", timeout=REQUEST_TIMEOUT_SECONDS).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise StackError(f"metering does not answer at {url}: {error}") from error
            time.sleep(START_POLL_SECONDS)


if __name__ == "__main__":
    try:
        settings = read_settings(SeedSettings)
        seed_catalog(settings.postgres_dsn)
        _wait_for(settings.metering_url)
        seed_metering(settings.metering_url, settings.metering_key)
    except (InvalidSettings, StackError) as refusal:
        sys.exit(f"seed: {refusal}")
