"""Metering and activity on databases of a test's own, and the operator who mends them, by the commands' own words."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from activity_service.app import create_app as create_activity
from activity_service.settings import ActivitySettings
from metering_service.app import create_app as create_metering
from metering_service.settings import MeteringSettings
from tests.activity_service.activity import Issuer
from tests.operator_command import Done, run_command

KEYS = {"events": "events-key-of-the-test", "admin": "admin-key-of-the-test"}
CLIENT = "client-a"
LATE = "SELECT count(*) FROM ledger_entry WHERE kind = 'spend' AND late_credits > 0"
FACTS = "SELECT count(*) + count(first_ended_at) FROM plan_play"
HOLDS = "SELECT count(*) FROM hold WHERE released_at IS NULL"
CHARGES = "SELECT count(*) FROM ledger_entry WHERE kind = 'spend'"


class Shop:
    """Metering and activity, running on two databases, and their one client."""

    def __init__(
        self, metering: TestClient[Any, Any], activity: TestClient[Any, Any], token: str, settling: asyncio.Event
    ) -> None:
        self.metering = metering
        self.settling = settling
        self.metering_url = str(metering.make_url("/")).rstrip("/")
        self._activity = activity
        self._token = token

    async def sell(self, name: str, count: int) -> None:
        """Create plays with keys of their own, `name` and a number, and end every second one."""
        for number in range(count):
            headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": f"{name}-{number}"}
            async with self._activity.post("/api/plan-plays", json={"planId": "p"}, headers=headers) as response:
                assert response.status == 201, await response.text()
                play_id = (await response.json())["data"]["id"]
            if number % 2:
                change = {"status": "ended"}
                async with self._activity.patch(
                    f"/api/plan-plays/{play_id}", json=change, headers=headers
                ) as response:
                    assert response.status == 200, await response.text()

    async def hold_for_nothing(self) -> None:
        """Have credits held as a request does that then dies."""
        play = uuid.uuid4()
        held = {"clientId": CLIENT, "eventType": "plan_play.created", "eventId": f"plan_play.created:{play}"}
        headers = {"Authorization": f"Bearer {KEYS['events']}"}
        body = {"events": [held | {"holdId": str(uuid.uuid4())}]}
        async with self.metering.post("/internal/events/authorize", json=body, headers=headers) as response:
            assert (await response.json())["decisions"][0]["decision"] == "granted"

    async def give_credits(self, credits: int) -> None:
        for method, path, body in (
            ("PUT", "/internal/policies/sold", {"prices": {"*": 1}, "credits": "prepaid"}),
            ("PUT", f"/internal/clients/{CLIENT}/policy", {"policyId": "sold", "create": True}),
            ("POST", f"/internal/clients/{CLIENT}/grants", {"grantId": "g", "credits": credits}),
        ):
            headers = {"Authorization": f"Bearer {KEYS['admin']}"}
            async with self.metering.request(method, path, json=body, headers=headers) as response:
                assert response.status == 200, await response.text()


@asynccontextmanager
async def run_shop(
    dsns: Mapping[str, str], redis_url: str, issuer: Issuer, *, resolve_after_seconds: int = 30
) -> AsyncIterator[Shop]:
    """Run both services; while `settling` is not set, no call to settle or release arrives at metering."""
    settling = asyncio.Event()
    settling.set()

    @web.middleware
    async def lose_settles(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.endswith(("/settle", "/release")) and not settling.is_set():
            raise web.HTTPServiceUnavailable
        response: web.StreamResponse = await handler(request)
        return response

    async with AsyncExitStack() as running:

        async def start(app: web.Application) -> TestClient[Any, Any]:
            client: TestClient[Any, Any] = await running.enter_async_context(TestClient(TestServer(app)))
            return client

        hashes = tuple(f"{scope}:{scope}:{hashlib.sha256(key.encode()).hexdigest()}" for scope, key in KEYS.items())
        metering_app = create_metering(
            MeteringSettings(postgres_dsn=dsns["metering"], redis_url=redis_url, service_keys=hashes)
        )
        metering_app.middlewares.insert(0, lose_settles)
        metering = await start(metering_app)
        keys = await start(issuer.create_app())
        activity = await start(
            create_activity(
                ActivitySettings(
                    postgres_dsn=dsns["activity"],
                    jwks_url=str(keys.make_url("/.well-known/jwks.json")),
                    metering_url=str(metering.make_url("/")).rstrip("/"),
                    metering_key=KEYS["events"],
                    relay_poll_seconds=0.1,
                    resolve_after_seconds=resolve_after_seconds,
                    sweep_interval_seconds=0.2,
                )
            )
        )
        yield Shop(metering, activity, issuer.issue(CLIENT), settling)


def count(dsn: str, statement: str) -> int:
    with psycopg.connect(dsn) as connection:
        [(number,)] = connection.execute(statement).fetchall()
        return int(number)


async def wait_for(dsn: str, statement: str, number: int) -> None:
    """Return when a statement counts so many."""
    async with asyncio.timeout(60):
        while count(dsn, statement) != number:  # noqa: ASYNC110 - by processes
            await asyncio.sleep(0.05)


async def settle(dsns: Mapping[str, str]) -> None:
    """Return when nothing waits to be charged."""
    await wait_for(dsns["activity"], "SELECT count(*) FROM billable_event WHERE outcome = 'happened'", 0)


class Operator:
    """Who runs the commands of the document."""

    def __init__(self, dsns: Mapping[str, str], metering_url: str, directory: Path) -> None:
        self._dsns = dsns
        key = directory / "metering_key"
        key.write_text(KEYS["admin"])
        self._access = ("--metering-url", metering_url, "--metering-key-file", str(key))

    async def audit(self) -> Done:
        """Hold every play against its charge; metering's own books must be sound whatever was restored."""
        books = await run_command("metering", self._dsns["metering"], "audit")
        assert books.code == 0, books.output
        return await run_command(
            "activity", self._dsns["activity"], "audit", *self._access, "--in-flight-seconds", "0"
        )

    async def recharge(self, *options: str) -> str:
        done = await run_command(
            *("activity", self._dsns["activity"], "billing", "recharge", *self._access),
            *("--in-flight-seconds", "0", "--json", *options),
        )
        assert done.code == 0, done.trace
        return done.output
