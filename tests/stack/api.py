"""The three APIs of a running stack, as a client of the product calls them."""

from dataclasses import dataclass
from typing import Any

import aiohttp

Answer = tuple[int, Any]
"""HTTP status and decoded body."""


@dataclass(frozen=True)
class Api:
    """Calls over HTTP; nothing of the services is imported."""

    stack: dict[str, Any]
    session: aiohttp.ClientSession

    async def token(self, client_id: str, user: dict[str, str] | None = None) -> str:
        """Return an access token of a demo client, for itself or for a user."""
        secrets = {client["client_id"]: client["client_secret"] for client in self.stack["clients"]}
        body: dict[str, Any] = {"client_id": client_id, "client_secret": secrets[client_id], "fingerprint": "test"}
        status, answer = await self.catalog("generate-client-auth-token", body | ({"user": user} if user else {}))
        assert status == 200, answer
        token: str = answer["data"]["access_token"]
        return token

    async def document(self, service: str) -> Any:
        """Return the OpenAPI document of a service."""
        _, document = await self._send("GET", f"{self.stack[service]['url']}/openapi.json", None, None)
        return document

    async def catalog(self, path: str, body: Any = None, token: str | None = None) -> Answer:
        """POST to the catalog."""
        return await self._send("POST", f"{self.stack['catalog']['url']}/{path}", token, body)

    async def plays(self, method: str, token: str | None, path: str = "", body: Any = None, **headers: str) -> Answer:
        """Call /api/plan-plays; `path` is what follows."""
        url = f"{self.stack['activity']['url']}/api/plan-plays{path}"
        return await self._send(method, url, token, body, headers)

    async def metering(self, path: str) -> Any:
        """GET from metering's admin API."""
        url = f"{self.stack['metering']['url']}/internal/{path}"
        status, answer = await self._send("GET", url, self.stack["service_keys"]["admin"], None)
        assert status == 200, answer
        return answer

    async def _send(
        self, method: str, url: str, token: str | None, body: Any, headers: dict[str, str] | None = None
    ) -> Answer:
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session.request(
            method, url, json=body, headers={**authorization, **(headers or {})}
        ) as response:
            return response.status, await response.json()
