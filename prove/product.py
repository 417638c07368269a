"""The product as a shop: activity sells, metering grants and charges."""

from collections.abc import Sequence
from typing import Any

import aiohttp
import asyncpg

from prove.breakable_stack import ACTIVITIES, BreakableStack
from prove.counting import Sales
from prove.registration import register_clients
from prove.rest import await_rest

CALL_TIMEOUT_SECONDS = 3.0
EVENT_TYPE = "plan_play.created"
QUOTA_CLIENTS = ("client-7", "client-8")
"""Have no credits but a quota; the others have credits. Names of callers.CLIENTS."""
RATE = {"name": "per second", "limit": 1000, "periodSeconds": 1, "burst": 1000}
"""Refuses nobody here: it is there so that Valkey is asked, and may be killed while it is."""


class MeteredPlans:
    """Sells through two activity processes, with a policy of its own for each client."""

    name = "this product"
    sellers: Sequence[str] = ACTIVITIES
    helpers: Sequence[str] = ("metering", "valkey")

    def __init__(self, stack: BreakableStack, session: aiohttp.ClientSession) -> None:
        self._stack = stack
        self._session = session
        self._tokens: dict[str, str] = {}

    async def open(self, client_ids: Sequence[str]) -> None:
        """Register the clients and assign each its policy."""
        self._tokens = await register_clients(self._stack, client_ids)
        for client_id in client_ids:
            await self._put_policy(client_id, 1)
            body = {"policyId": client_id, "create": True}
            await self.call("PUT", f"/internal/clients/{client_id}/policy", body)

    def url(self, seller: str) -> str:
        """Return the root of an activity process's API."""
        return self._stack.url(seller)

    def token(self, client_id: str) -> str:
        """Return the client's access token."""
        return self._tokens[client_id]

    async def give(self, client_id: str, round_number: int, plays: int, plays_in_all: int) -> None:
        """Grant credits, or raise the quota."""
        if client_id in QUOTA_CLIENTS:
            await self._put_policy(client_id, plays_in_all)
        else:
            body = {"grantId": f"round-{round_number}", "credits": plays}
            await self.call("POST", f"/internal/clients/{client_id}/grants", body)

    async def fetch_sales(self) -> Sales:
        """Read charges, then plays: a charge comes after its play."""
        metering = await asyncpg.connect(self._stack.dsns["metering"], timeout=2)
        try:
            charges = await metering.fetch("SELECT event_id FROM ledger_entry WHERE kind = 'spend'", timeout=5)
        finally:
            metering.terminate()
        activity = await asyncpg.connect(self._stack.dsns["activity"], timeout=2)
        try:
            plays = await activity.fetch("SELECT id::text, client_id, display_name FROM plan_play", timeout=5)
        finally:
            activity.terminate()
        operations = {f"{EVENT_TYPE}:{play_id}": operation for play_id, _, operation in plays}
        return Sales(
            [(client_id, operation) for _, client_id, operation in plays],
            [operations.get(event_id, event_id) for (event_id,) in charges],
        )

    async def come_to_rest(self) -> None:
        """Wait until every play is charged and every hold is closed."""
        await await_rest(self._stack)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send an admin call to metering and return its answer. Raises ClientError or TimeoutError."""
        headers = {"Authorization": f"Bearer {self._stack.secrets['admin_key']}"}
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_SECONDS)
        url = self._stack.url("metering") + path
        async with self._session.request(method, url, json=body, headers=headers, timeout=timeout) as response:
            response.raise_for_status()
            return await response.json()

    async def _put_policy(self, client_id: str, quota: int) -> None:
        terms: dict[str, Any] = {"rates": [RATE], "credits": "prepaid", "prices": {EVENT_TYPE: 1}}
        if client_id in QUOTA_CLIENTS:
            # From the assignment on, not by the calendar: a month's end in the middle of a run would begin anew.
            limit = {"name": "plays", "limit": quota, "period": "month", "anchor": "assigned"}
            terms = {"rates": [RATE], "prices": {"*": 0}, "quotas": [limit]}
        await self.call("PUT", f"/internal/policies/{client_id}", terms)
