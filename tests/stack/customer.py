"""A client that pays, as the tests of exactness have one."""

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp

from local_stack.processes import REPOSITORY

REST_TIMEOUT_SECONDS = 20.0
"""How long the relay may take until everything that happened is charged; it is a moment where nothing is wrong."""
PAID = {"credits": "prepaid", "prices": {"plan_play.created": 1, "plan_play.completed": 1}}


@dataclass
class Customer:
    """A client of its own, with terms of its own, that calls through any of the activity processes."""

    client_id: str
    token: str
    stack: dict[str, Any]
    session: aiohttp.ClientSession
    activity_urls: list[str]

    async def play(
        self, method: str, path: str = "", body: Any = None, *, through: int = 0, idempotency_key: str | None = None
    ) -> tuple[int, bytes, Any]:
        """Call /api/plan-plays; answer status, raw body and headers."""
        url = f"{self.activity_urls[through % len(self.activity_urls)]}/api/plan-plays{path}"
        headers = {"Authorization": f"Bearer {self.token}"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        async with self.session.request(method, url, json=body, headers=headers) as response:
            return response.status, await response.read(), response.headers

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Call metering's admin API about this client."""
        async with self.session.request(
            method,
            f"{self.stack['metering']['url']}/internal/{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.stack['service_keys']['admin']}"},
        ) as response:
            document = await response.json()
            assert response.status == 200, document
            return document

    async def balance(self) -> dict[str, int]:
        document: dict[str, int] = await self.admin("GET", f"clients/{self.client_id}/balance")
        return document

    async def charges(self) -> list[str]:
        """Return the event ids of all spends, once nothing of this client is held any more."""
        deadline = time.monotonic() + REST_TIMEOUT_SECONDS
        while True:
            quotas = (await self.admin("GET", f"clients/{self.client_id}/quota"))["quotas"]
            balance = await self.balance()
            ledger = await self.admin("GET", f"clients/{self.client_id}/ledger?limit=1000")
            if not any(quota["held"] for quota in quotas) and not balance["held"]:
                return [entry["eventId"] for entry in ledger["entries"] if entry["kind"] == "spend"]
            assert time.monotonic() < deadline, balance
            await asyncio.sleep(0.05)

    async def count_plays(self) -> int:
        status, body, _ = await self.play("GET")
        assert status == 200
        return int(json.loads(body)["count"])


MakeCustomer = Callable[..., Coroutine[Any, Any, Customer]]


async def make_customer(
    stack: dict[str, Any], session: aiohttp.ClientSession, activity_urls: list[str], *, grant: int = 0, **terms: Any
) -> Customer:
    """Register a client with `terms`, a policy of its own, and `grant` credits."""
    client_id = f"customer-{uuid.uuid4()}"
    environment = {**os.environ, "CATALOG_POSTGRES_DSN": stack["postgres"]["dsn"]["catalog"]}
    command = [sys.executable, "-m", "catalog_service", "clients", "create", client_id, "--name", "x", "--json"]
    created = await asyncio.to_thread(
        subprocess.run, command, cwd=REPOSITORY, env=environment, capture_output=True, check=True
    )
    credentials = {**json.loads(created.stdout), "fingerprint": "test"}
    async with session.post(f"{stack['catalog']['url']}/generate-client-auth-token", json=credentials) as response:
        token = (await response.json())["data"]["access_token"]
    made = Customer(client_id, token, stack, session, activity_urls)
    await made.admin("PUT", f"policies/{client_id}", terms)
    await made.admin("PUT", f"clients/{client_id}/policy", {"policyId": client_id, "create": True})
    if grant:
        await made.admin("POST", f"clients/{client_id}/grants", {"grantId": "first", "credits": grant})
    return made
