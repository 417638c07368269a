"""A metering service on real servers, with a clock that the test moves."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from metering_service import components
from metering_service.app import create_app
from metering_service.metrics import MeteringMetrics
from metering_service.rates.limiter import RateLimiter
from metering_service.settings import MeteringSettings
from service_chassis.operations.metrics import Metrics
from tests.metering_service.movable_clock import CLOCK_THAT_STANDS, MovableClock
from tests.metering_service.rates import StartLimiter
from tests.metering_service.webhook_receiver import WebhookReceiver, run_receiver

EVENTS_KEY = "events-key-of-the-tests"
OTHER_KEY = "events-key-of-another-service"
ADMIN_KEY = "admin-key-of-the-tests"
SERVICE_KEYS = (("events", "tests", EVENTS_KEY), ("events", "other", OTHER_KEY), ("admin", "ops", ADMIN_KEY))


class Metering:
    """A client of one or more metering processes that share their servers."""

    def __init__(self, clients: list[TestClient[web.Request, web.Application]], dsn: str) -> None:
        self.clients = clients
        self.dsn = dsn

    async def call(
        self, method: str, path: str, body: Any = None, *, key: str = EVENTS_KEY, process: int = 0
    ) -> tuple[int, Any]:
        async with self.clients[process].request(
            method, path, json=body, headers={"Authorization": f"Bearer {key}"}
        ) as response:
            return response.status, await response.json()

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        status, document = await self.call(method, path, body, key=ADMIN_KEY)
        assert status == 200, document
        return document

    async def authorize(self, *events: dict[str, Any], process: int = 0) -> list[dict[str, Any]]:
        status, document = await self.call(
            "POST", "/internal/events/authorize", {"events": list(events)}, process=process
        )
        assert status == 200, document
        decisions: list[dict[str, Any]] = document["decisions"]
        return decisions

    async def decide(self, *events: dict[str, Any], process: int = 0) -> list[dict[str, Any]]:
        """Authorize as callers do: what was not decided, an account being locked for longer say, is asked again."""
        decisions = await self.authorize(*events, process=process)
        while undecided := [place for place, each in enumerate(decisions) if each["decision"] == "error"]:
            again = await self.authorize(*(events[place] for place in undecided), process=process)
            for place, decision in zip(undecided, again, strict=True):
                decisions[place] = decision
        return decisions

    async def settle(self, *events: dict[str, Any], process: int = 0) -> list[dict[str, Any]]:
        """Settle events told whole."""
        whole = [{"happenedAt": "2026-03-31T21:59:00Z", **event} for event in events]
        return await self._ask("settle", whole, process)

    async def settle_by_ids(self, *events: dict[str, Any], process: int = 0, **fields: Any) -> list[dict[str, Any]]:
        return await self._ask("settle", [{**ids_of(event), **fields} for event in events], process)

    async def release(self, *events: dict[str, Any], process: int = 0) -> list[str]:
        results = await self._ask("release", [ids_of(event) for event in events], process)
        return [result["state"] for result in results]

    async def _ask(self, call: str, events: list[dict[str, Any]], process: int) -> list[dict[str, Any]]:
        status, document = await self.call("POST", f"/internal/events/{call}", {"events": events}, process=process)
        assert status == 200, document
        results: list[dict[str, Any]] = document["results"]
        return results

    async def give(self, client_id: str, *, grant: int = 0, **terms: Any) -> None:
        """Put a client on a policy of its own with `terms`, and grant it credits."""
        terms.setdefault("prices", {"plan_play.created": 1, "*": 0})
        terms.setdefault("credits", "prepaid")
        await self.admin("PUT", f"/internal/policies/of-{client_id}", terms)
        await self.admin(
            "PUT", f"/internal/clients/{client_id}/policy", {"policyId": f"of-{client_id}", "create": True}
        )
        if grant:
            await self.admin(
                "POST", f"/internal/clients/{client_id}/grants", {"grantId": str(uuid.uuid4()), "credits": grant}
            )

    async def balance(self, client_id: str) -> tuple[int, int, int, int]:
        """Return granted , spent, held, available."""
        balance = await self.admin("GET", f"/internal/clients/{client_id}/balance")
        return balance["granted"], balance["spent"], balance["held"], balance["available"]

    async def spends(self, client_id: str) -> list[dict[str, Any]]:
        ledger = await self.admin("GET", f"/internal/clients/{client_id}/ledger?limit=1000")
        return [entry for entry in ledger["entries"] if entry["kind"] == "spend"]

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.dsn)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
            return rows
        finally:
            await connection.close()


def event(client_id: str = "acme", **fields: Any) -> dict[str, Any]:
    """Make a new attempt at a new fact, or at the fact and with the content given."""
    fact = str(uuid.uuid4())
    return {
        "holdId": str(uuid.uuid4()),
        "eventId": f"plan_play.created:{fact}",
        "clientId": client_id,
        "eventType": "plan_play.created",
        **fields,
    }


def ids_of(attempt: dict[str, Any]) -> dict[str, Any]:
    return {name: attempt[name] for name in ("clientId", "holdId", "eventId")}


def again(attempt: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Make a further attempt at the same fact."""
    return {**attempt, "holdId": str(uuid.uuid4()), **fields}


StartMetering = Callable[..., Awaitable[Metering]]


@pytest.fixture
def metering_dsn(
    request: pytest.FixtureRequest, template_database: Callable[..., str], empty_database: Callable[..., str]
) -> str:
    """Return the URL of a new database; its clock stands where the test has one to move."""
    then = CLOCK_THAT_STANDS if "clock" in request.fixturenames else ""
    return empty_database(template=template_database("metering_service", then))


@pytest.fixture
def clock(metering_dsn: str) -> Iterator[MovableClock]:
    clock = MovableClock(metering_dsn)
    yield clock
    clock.close()


@pytest.fixture
async def start_metering(
    metering_dsn: str, redis_url: str, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StartMetering]:
    clients: list[TestClient[web.Request, web.Application]] = []
    # What is gathered beside the decisions is written once a second, and tests wait for it.
    for name in ("WRITE_INTERVAL_SECONDS", "JUDGE_INTERVAL_SECONDS", "SEND_INTERVAL_SECONDS"):
        monkeypatch.setattr(components, name, 0.1)
    # What is forgotten by the hour is not, in a test that does not ask for it.
    monkeypatch.setattr(components, "BEGIN_SECONDS", 1e9)

    async def start(processes: int = 1, **changes: Any) -> Metering:
        settings = MeteringSettings(
            **{
                "postgres_dsn": metering_dsn,
                "redis_url": redis_url,
                "redis_timeout_seconds": 2.0,
                "service_keys": tuple(
                    f"{scope}:{name}:{hashlib.sha256(key.encode()).hexdigest()}" for scope, name, key in SERVICE_KEYS
                ),
                **changes,
            }
        )
        for _ in range(processes):
            client = TestClient(TestServer(create_app(settings, clock=clock)))
            await client.start_server()
            clients.append(client)
        return Metering(clients, metering_dsn)

    yield start
    for client in clients:
        await client.close()


@pytest.fixture
async def metering(start_metering: StartMetering) -> Metering:
    return await start_metering()


@pytest.fixture
async def acme(metering: Metering) -> Metering:
    """A client that pays a credit a unit, and has those that the test grants. It is 31 March, 22:00."""
    await metering.give("acme")
    return metering


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with run_receiver() as receiver:
        yield receiver


@pytest.fixture
async def other() -> AsyncIterator[WebhookReceiver]:
    async with run_receiver() as receiver:
        yield receiver


@pytest.fixture
async def start_limiter(redis_url: str) -> AsyncIterator[StartLimiter]:
    started: list[RateLimiter] = []
    lost: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))

    async def start(
        url: str = redis_url, timeout_seconds: float = 2.0, metrics: Metrics | None = None
    ) -> RateLimiter:
        rates = RateLimiter(url, timeout_seconds=timeout_seconds, metrics=MeteringMetrics(metrics or Metrics()))
        started.append(rates)
        await rates.connect()
        return rates

    yield start
    for rates in started:
        await rates.aclose()
    assert lost == []  # no exception is lost, whatever became of a server
