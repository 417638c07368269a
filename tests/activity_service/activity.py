"""What a test says to one activity service, in few words."""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
import jwt
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient
from cryptography.hazmat.primitives.asymmetric import ec

from activity_service.components import COMPONENTS, Components
from service_chassis.application import METRICS
from tests.activity_service.metering_double import MeteringDouble

ISSUER = "catalog_service"
AUDIENCE = "plans-api"
SCOPE = "plan_plays"


class Issuer:
    """Signs access tokens and publishes its key, as the catalog service does."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    def create_app(self) -> web.Application:
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)

        async def publish(_: web.Request) -> web.Response:
            return web.json_response({"keys": [{**jwk, "kid": "key-1", "use": "sig", "alg": "ES256"}]})

        app = web.Application()
        app.router.add_get("/.well-known/jwks.json", publish)
        return app

    def issue(self, client: str = "client-a", user: str | None = None, scope: str = SCOPE, **claims: Any) -> str:
        now = int(time.time())
        payload = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 86_400,  # as long as a token may live
            "jti": uuid.uuid4().hex,
            "client_id": client,
            "sub": user or client,
            "scope": scope,
        }
        return jwt.encode({**payload, **claims}, self._key, "ES256", headers={"kid": "key-1", "typ": "at+jwt"})


@dataclass(frozen=True)
class Reply:
    """A whole response."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    json: Any

    @property
    def play(self) -> dict[str, Any]:
        play: dict[str, Any] = self.json["data"]
        return play


@dataclass
class Activity:
    """A running service with its metering, its database, and tokens for it."""

    client: "TestClient[web.Request, web.Application]"
    app: web.Application
    metering: MeteringDouble
    issuer: Issuer
    pool: asyncpg.Pool

    @property
    def components(self) -> Components:
        return self.app[COMPONENTS]

    @property
    def serving_pool(self) -> asyncpg.Pool:
        """The service's own pool for one client's work, behind row-level security."""
        return self.components.pool

    async def call(
        self, method: str, path: str, *, token: str | None = None, key: str | None = None, **options: Any
    ) -> Reply:
        headers = {"Authorization": f"Bearer {token or self.issuer.issue()}", **options.pop("headers", {})}
        if key is not None:
            headers["Idempotency-Key"] = key
        async with self.client.request(method, path, headers=headers, **options) as response:
            return await read_reply(response)

    async def create(self, *, token: Any = None, key: Any = None, **body: Any) -> Reply:
        return await self.call("POST", "/api/plan-plays", token=token, key=key, json={"planId": "plan-1", **body})

    async def create_play(self, **options: Any) -> dict[str, Any]:
        reply = await self.create(**options)
        assert reply.status == 201, reply.body
        return reply.play

    async def read(self, play_id: str, *, token: str | None = None) -> Reply:
        return await self.call("GET", f"/api/plan-plays/{play_id}", token=token)

    async def update(self, play_id: str, *, token: Any = None, **changes: Any) -> Reply:
        return await self.call("PATCH", f"/api/plan-plays/{play_id}", token=token, json=changes)

    async def list_plays(self, *, token: Any = None, **query: Any) -> Reply:
        return await self.call("GET", "/api/plan-plays", token=token, params=query)

    async def settle_all(self) -> None:
        """Have the relay go round, and wait until nothing is left that it has not tried yet."""
        first_try = "parked_at IS NULL AND attempts = 0 AND outcome = 'happened'"
        async with asyncio.timeout(10):
            await self.components.billing.relay.settle_committed()
            await self.pool.execute(f"UPDATE billable_event SET next_attempt_at = utc_now() WHERE {first_try}")
            while await self.pool.fetchval(f"SELECT count(*) FROM billable_event WHERE {first_try}"):
                await self.components.billing.relay.settle_due()

    async def sweep(self) -> None:
        await self.components.billing.sweeper.run_once()

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """Everything in `table`."""
        return [dict(row) for row in await self.pool.fetch(f"SELECT * FROM {table}")]

    async def outcomes(self) -> list[str]:
        return sorted(row["outcome"] for row in await self.rows("billable_event"))

    async def finish_first_rounds(self) -> None:
        """Wait until the background work, which begins with a round of each, rests."""
        for task in ("relay", "outbox poll", "sweeper", "outbox watch", "metering check"):
            await until(lambda task=task: self.rounds(task) > 0)  # type: ignore[misc]

    def rounds(self, task: str) -> float:
        """How many rounds a background task has ended, well or not."""
        return sum(
            self.metric("activity_background_rounds_total", task=task, outcome=outcome)
            for outcome in ("done", "failed")
        )

    def metric(self, name: str, **labels: str) -> float:
        # Only this one is collected: the registry's own get_sample_value collects all, the process's of /proc, too.
        for metric in self.app[METRICS].registry.restricted_registry([name]).collect():
            for sample in metric.samples:
                if (sample.name, sample.labels) == (name, labels):
                    return sample.value
        return 0.0


async def until(condition: Callable[[], bool]) -> None:
    """Let everything else go on until `condition` holds. For what has no event to wait for."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)


async def read_reply(response: ClientResponse) -> Reply:
    body = await response.read()
    document = await response.json() if response.content_type == "application/json" else None
    return Reply(response.status, response.headers.copy(), body, document)
