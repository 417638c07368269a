"""A new version goes in while callers are served: every process is stopped and started once, behind the proxies."""

import asyncio
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from local_stack.seed import seed_catalog, seed_metering
from tests.conftest import FreshDatabase
from tests.deploy.proxy import NEEDS_HAPROXY, Proxy, run_proxy
from tests.stack.two_of_each import ServiceProcess

pytestmark = pytest.mark.system

KEYS = {"events:activity": "events-key-of-the-test", "admin:ops": "admin-key-of-the-test"}
CLIENT = "demo-unlimited"
WORKERS = 3


class Fleet:
    """Two processes of each service behind the two proxies."""

    def __init__(self, directory: Path, dsns: dict[str, str], redis_url: str, running: ExitStack) -> None:
        self.processes: dict[str, list[ServiceProcess]] = {}
        self._running = running
        hashes = ",".join(f"{whose}:{hashlib.sha256(key.encode()).hexdigest()}" for whose, key in KEYS.items())

        def start(service: str, **variables: str) -> list[ServiceProcess]:
            self.processes[service] = [
                ServiceProcess(
                    service,
                    directory / f"{service}-{number}.log",
                    POSTGRES_DSN=dsns[service],
                    DRAIN_SECONDS="2",
                    **variables,
                )
                for number in (1, 2)
            ]
            for process in self.processes[service]:
                running.callback(process.end)
            return self.processes[service]

        metering = start("metering", REDIS_URL=redis_url, SERVICE_KEYS=hashes)
        inner = running.enter_context(run_proxy("metering-proxy", {"metering": metering}, directory))
        catalog = start("catalog")
        activity = start(
            "activity",
            JWKS_URL=catalog[0].url + "/.well-known/jwks.json",
            METERING_URL=inner.url,
            METERING_KEY=KEYS["events:activity"],
        )
        outer = running.enter_context(run_proxy("proxy", {"catalog": catalog, "activity": activity}, directory))
        self.url = outer.url
        self.proxies: dict[str, Proxy] = {"metering": inner, "catalog": outer, "activity": outer}
        for service, number in self.each():
            self.processes[service][number - 1].wait_until_ready()
            self.proxies[service].wait_until(service, number, "UP")
        seed_catalog(dsns["catalog"])
        seed_metering(inner.url, KEYS["admin:ops"])

    def each(self) -> list[tuple[str, int]]:
        return list(itertools.product(self.processes, (1, 2)))

    def restart(self, service: str, number: int) -> int:
        """Stop one process and start it again; return the status that it ended with."""
        process = self.processes[service][number - 1]
        status = process.end()
        self.proxies[service].wait_until(service, number, "DOWN")
        process.restart()
        self.proxies[service].wait_until(service, number, "UP")
        return status


@pytest.fixture
def databases(fresh_database: FreshDatabase) -> dict[str, str]:
    return {service: fresh_database(f"{service}_service") for service in ("catalog", "activity", "metering")}


@pytest.fixture
def fleet(tmp_path: Path, databases: dict[str, str], redis_url: str) -> Iterator[Fleet]:
    with ExitStack() as running:
        yield Fleet(tmp_path, databases, redis_url, running)


async def call_all_day(url: str, outcomes: Counter[Any], stop: asyncio.Event) -> None:
    """Do what a client does, over and over on kept connections; count what came of each request."""
    credentials = {"client_id": CLIENT, "client_secret": f"{CLIENT}-secret", "fingerprint": "test"}
    async with aiohttp.ClientSession(url) as http:

        async def call(method: str, path: str, body: Any, token: str = "") -> Any:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            try:
                async with http.request(method, path, json=body, headers=headers) as response:
                    outcomes[method, response.status] += 1
                    return (await response.json())["data"]
            except (aiohttp.ClientError, KeyError, TypeError) as error:
                outcomes[method, type(error).__name__] += 1
                return {}

        while not stop.is_set():
            token = (await call("POST", "/generate-client-auth-token", credentials)).get("access_token", "")
            await call("POST", "/get-plans", {}, token)
            play = (await call("POST", "/api/plan-plays", {"planId": "plan-1"}, token)).get("id", "")
            await call("PATCH", f"/api/plan-plays/{play}", {"status": "ended"}, token)
            await call("GET", f"/api/plan-plays/{play}", None, token)


@NEEDS_HAPROXY
async def test_no_request_is_refused_or_fails_while_every_process_is_restarted(
    fleet: Fleet, databases: dict[str, str]
) -> None:
    outcomes: Counter[Any] = Counter()
    stop = asyncio.Event()
    workers = [asyncio.create_task(call_all_day(fleet.url, outcomes, stop)) for _ in range(WORKERS)]
    statuses = [await asyncio.to_thread(fleet.restart, service, number) for service, number in fleet.each()]
    stop.set()
    await asyncio.gather(*workers)
    assert statuses == [0] * 6
    assert set(outcomes) == {("POST", 200), ("POST", 201), ("PATCH", 200), ("GET", 200)}
    assert outcomes["POST", 201] > 50

    for process in fleet.processes["activity"]:
        assert await asyncio.to_thread(process.end) == 0
    with psycopg.connect(databases["metering"]) as connection:
        [(charged,)] = connection.execute("SELECT count(*) FROM ledger_entry WHERE client_id = %s", [CLIENT])
    assert charged == outcomes["POST", 201] + outcomes["PATCH", 200]
