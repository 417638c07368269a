"""A running catalog as a test speaks to it: every answer is held against the published OpenAPI document."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient

from catalog_service.clients.change_secrets import ChangeSecrets
from catalog_service.clients.register import RegisterClients
from catalog_service.components import COMPONENTS

PLAN = {"plan_name": "Basic", "description": "The basic plan.", "collection_id": "col-1", "color": "#336699"}
PERSON = {"first_name": "Ada", "last_name": "Lovelace"}
UNAUTHORIZED = {"statusCode": 403, "data": {}, "message": "UNAUTHORIZED"}
UNEXPECTED = {"statusCode": 500, "data": {}, "message": "An unexpected error occurred. Please try again."}
PLAN_CALLS = ("/get-plans", "/get-plan-details", "/sync-plan")


class MovableClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **units: float) -> None:
        self.now += timedelta(**units)


class Catalog:
    """One process of the service, with an operator's pool beside it."""

    def __init__(
        self,
        http: TestClient[Any, Any],
        app: web.Application,
        pool: asyncpg.Pool,
        clock: MovableClock,
    ) -> None:
        self.http = http
        self.app = app
        self.pool = pool
        self.clock = clock
        self.operator = RegisterClients(pool, clock)
        self.secrets = ChangeSecrets(pool, clock)

    @property
    def serving_pool(self) -> asyncpg.Pool:
        """The service's own pool, behind row-level security."""
        return self.app[COMPONENTS].plans.pool

    async def register(self, client_id: str = "acme", **options: Any) -> str:
        """Register a client and answer its secret."""
        _, secret = await self.operator.register(client_id, **{"name": client_id, "actor": "ops", **options})
        return secret.client_secret

    async def request_token(
        self, client_id: str, secret: str, user: Mapping[str, str] | None = None, fingerprint: str = "device-1"
    ) -> tuple[int, dict[str, Any]]:
        body = {"client_id": client_id, "client_secret": secret, "fingerprint": fingerprint}
        return await self.call("/generate-client-auth-token", body if user is None else {**body, "user": user})

    async def token(self, client_id: str = "acme", secret: str | None = None, user: Any = None) -> str:
        """Return a token, of a client registered for it unless its secret is given."""
        secret = secret or await self.register(client_id)
        status, answer = await self.request_token(client_id, secret, user)
        assert status == 200, answer
        token: str = answer["data"]["access_token"]
        return token

    async def call(
        self, path: str, body: Any = None, token: str | None = None, **options: Any
    ) -> tuple[int, dict[str, Any]]:
        """POST `body` as JSON, bytes as they are, None as no body; answer status and envelope."""
        response = await self.respond(path, body, token, **options)
        return response.status, orjson.loads(await response.read())

    async def respond(
        self, path: str, body: Any = None, token: str | None = None, headers: Mapping[str, str] | None = None
    ) -> ClientResponse:
        sent = dict(headers or {})
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        response = await self.http.post(path, data=data, headers=sent)
        await _check(response)
        return response

    async def plans(self, token: str, collection_id: str | None = None) -> list[dict[str, Any]]:
        """Return what get-plans lists, by name."""
        status, answer = await self.call("/get-plans", {"collection_id": collection_id}, token)
        assert status == 200, answer
        plans: list[dict[str, Any]] = answer["data"]
        return sorted(plans, key=lambda plan: plan["plan_name"])

    async def sync(self, token: str, **fields: Any) -> dict[str, Any]:
        """Create, change or delete a plan and answer the `data`."""
        status, answer = await self.call("/sync-plan", fields, token)
        assert status == 200, answer
        data: dict[str, Any] = answer["data"]
        return data

    async def published_kids(self) -> list[str]:
        response = await self.http.get("/.well-known/jwks.json")
        assert response.headers["Cache-Control"] == "public, max-age=300"
        return [key["kid"] for key in (await response.json())["keys"]]


async def _check(response: ClientResponse) -> None:
    envelope = orjson.loads(await response.read())
    assert envelope["statusCode"] == response.status
