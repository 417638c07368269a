"""The three services together in one test, on real databases, with tokens and keys of every kind."""

import hashlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, web

from activity_service.app import create_app as create_activity
from activity_service.settings import ActivitySettings
from catalog_service.app import create_app as create_catalog
from catalog_service.clients.register import RegisterClients
from catalog_service.components import COMPONENTS
from catalog_service.settings import CatalogSettings
from catalog_service.tokens.signing_key import sign
from metering_service.app import create_app as create_metering
from metering_service.settings import MeteringSettings
from service_chassis.application import ADMIN_SERVER, create_server
from service_chassis.auth.bearer import TOKEN_TYPE
from service_chassis.http.server import HttpServer

KEYS = {"events": "key-of-events", "admin": "key-of-administration", "catalog": "key-of-catalogs-administration"}
"""Metering's by their scopes, and the one that opens catalog's administration."""
SCOPES = "plans plan_plays"
CLIENTS = ("client-a", "client-b")
PLAN = {"plan_name": "Basic", "description": "", "collection_id": "col-1", "color": "red"}


@dataclass
class House:
    """Three running services, two with their administration. `names` fills placeholders: ids of client-a's things."""

    apps: Mapping[str, web.Application]
    servers: Mapping[str, HttpServer]
    urls: Mapping[str, str]
    http: ClientSession
    names: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def build(cls, dsns: Mapping[str, str], redis_url: str, http: ClientSession) -> "House":
        """Start the services, each after what it needs, and give client-a a plan and a play of user-1."""
        hashes = {scope: f"{scope}-caller:{hashlib.sha256(key.encode()).hexdigest()}" for scope, key in KEYS.items()}
        apps: dict[str, web.Application] = {}
        servers: dict[str, HttpServer] = {}
        urls: dict[str, str] = {}

        async def start(name: str, app: web.Application) -> str:
            apps[name], servers[name] = app, create_server(app)
            await servers[name].setup()
            urls[name] = f"http://127.0.0.1:{await servers[name].listen('127.0.0.1', 0)}"
            if (admin := app.get(ADMIN_SERVER)) is not None:
                apps[f"{name}_admin"] = admin.app
                urls[f"{name}_admin"] = f"http://127.0.0.1:{await admin.listen('127.0.0.1', 0)}"
            return urls[name]

        catalog_url = await start(
            "catalog", create_catalog(CatalogSettings(postgres_dsn=dsns["catalog"], admin_keys=(hashes["catalog"],)))
        )
        metering_url = await start(
            "metering",
            create_metering(
                MeteringSettings(
                    postgres_dsn=dsns["metering"],
                    redis_url=redis_url,
                    service_keys=(f"events:{hashes['events']}", f"admin:{hashes['admin']}"),
                )
            ),
        )
        await start(
            "activity",
            create_activity(
                ActivitySettings(
                    postgres_dsn=dsns["activity"],
                    jwks_url=f"{catalog_url}/.well-known/jwks.json",
                    metering_url=metering_url,
                    metering_key=KEYS["events"],
                )
            ),
        )
        house = cls(apps, servers, urls, http)
        await house._furnish()
        return house

    async def close(self) -> None:
        for name in ("activity", "metering", "catalog"):
            await self.servers[name].close()

    async def token(self, client_id: str = "client-a", user_id: str | None = None, scope: str = SCOPES) -> str:
        """Sign a token as the catalog does, with any scope."""
        now = int(time.time())
        claims = {
            "iss": "catalog_service",
            "aud": "plans-api",
            "iat": now,
            "exp": now + 900,
            "jti": uuid.uuid4().hex,
            "client_id": client_id,
            "sub": user_id or client_id,
            "scope": scope,
        }
        kid, key = await self.apps["catalog"][COMPONENTS].key_ring.signer()
        return sign(claims, kid, key, TOKEN_TYPE)

    async def call(
        self, service: str, method: str, path: str, *, bearer: str | None = None, body: Any = None
    ) -> tuple[int, Any]:
        """Return status and document. `{names}` in path and body are filled in."""
        url = self.urls[service] + path.format_map(self.names)
        headers = {"Authorization": f"Bearer {bearer}"} if bearer is not None else {}
        filled = None if body is None else {name: _fill(value, self.names) for name, value in body.items()}
        async with self.http.request(method, url, json=filled, headers=headers) as response:
            is_file = "Content-Disposition" in response.headers
            return response.status, await (response.text() if is_file else response.json(content_type=None))

    async def _furnish(self) -> None:
        operator = RegisterClients(self.apps["catalog"][COMPONENTS].plans.pool)
        for client_id in CLIENTS:
            await operator.register(client_id, name=client_id, actor="ops")
        token = await self.token()
        status, answer = await self.call("catalog", "POST", "/sync-plan", bearer=token, body=PLAN)
        assert status == 200, answer
        self.names["plan_id"] = answer["data"]["plan_id"]
        play = {"planId": "p", "userId": "user-1"}
        status, answer = await self.call("activity", "POST", "/api/plan-plays", bearer=token, body=play)
        assert status == 201, answer
        self.names["id"] = answer["data"]["id"]
        self.names |= {
            "clientId": "client-a",
            "client_id": "client-a",
            "secret_id": "0123456789abcdef",
            "policyId": "free",
            "grantId": "nobody-has-it",
            "recurringId": "plan",
            "noticeId": str(uuid.uuid4()),
            "eventId": f"plan_play.created:{answer['data']['id']}",
        }


def _fill(value: Any, names: Mapping[str, str]) -> Any:
    return value.format_map(names) if isinstance(value, str) else value
