"""Which clients there are in a run, on which terms, and what an operator does for them."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from prove.history import Change, History
from tests.faults.fault_stack import FaultStack

PRICES = {"plan_play.created": 1, "plan_play.completed": 1}

STEADY = ("steady-1", "steady-2")
TIGHT = ("tight-1", "tight-2", "tight-3")
BOUNDED = ("quota-1", "quota-2")
RATED = ("rate-1",)
TOKENS, MOST_TOKENS = "llm.tokens", 5
"""What the second product sells, and the most that one of its answers may be, of which it holds the price."""
TOKEN_BUYERS = ("tokens-tight", "tokens-steady")
"""The second product's clients; the first has what it is granted, the other pays nothing."""
PROBE = "probe"
CLIENTS = (*STEADY, *TIGHT, *BOUNDED, *RATED, PROBE)
FREE = {"*": 0}
FIRST_GRANT = 40
FIRST_QUOTA = 60


def policy_of(client_id: str, *, quota: int = FIRST_QUOTA, price: int = 1) -> dict[str, Any]:
    """Return the terms a client begins with, or has after a change."""
    if client_id in TIGHT:
        return {"credits": "prepaid", "prices": dict.fromkeys(PRICES, price)}
    if client_id == TOKEN_BUYERS[0]:
        return {"credits": "prepaid", "prices": {TOKENS: price}}
    if client_id in BOUNDED:
        wide = {"name": "units", "limit": 1_000_000, "counts": "units", "period": "day", "per": "user"}
        return {"prices": FREE, "quotas": [{"name": "q", "limit": quota, "period": "month"}, wide]}
    if client_id in RATED:
        rate = {"name": "r", "limit": 20, "periodSeconds": 1, "burst": 20}
        return {"prices": FREE, "rates": [rate, {**rate, "name": "wide", "limit": 100, "burst": 500}]}
    return {"prices": FREE}


class Operator:
    """An operator's calls to metering, repeated until their answer is known."""

    def __init__(self, stack: FaultStack, session: aiohttp.ClientSession, history: History) -> None:
        self._stack = stack
        self._session = session
        self._history = history
        self._short: dict[str, list[str]] = {client_id: [] for client_id in TIGHT}

    async def set_up(self) -> None:
        """Give every client its policy, and the tight ones their first credits."""
        for client_id in (*CLIENTS, *TOKEN_BUYERS):
            await self.put_policy(client_id, quota=FIRST_QUOTA, price=1)
            await self.call(
                "PUT", f"/internal/clients/{client_id}/policy", {"policyId": f"of-{client_id}", "create": True}
            )
            if client_id in (*TIGHT, TOKEN_BUYERS[0]):
                await self.grant(client_id, "first-grant", FIRST_GRANT)

    async def grant(self, client_id: str, grant_id: str, credits: int) -> None:
        """Grant credits, once."""
        change = Change(client_id, datetime.now(UTC), credits=credits)
        self._history.changes.append(change)
        body = {"grantId": grant_id, "credits": credits}
        await self._insist(change, "POST", f"/internal/clients/{client_id}/grants", body)

    async def grant_for_a_time(self, client_id: str, grant_id: str, credits: int, seconds: float) -> None:
        """Grant credits that expire so soon that holds lie on them then."""
        self._short[client_id].append(grant_id)
        expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
        body = {"grantId": grant_id, "credits": credits, "expiresAt": expires_at.isoformat()}
        await self._try("POST", f"/internal/clients/{client_id}/grants", body)

    async def void_one_for_a_time(self, client_id: str) -> None:
        """Take what is left of a grant for a time, where there is one."""
        if self._short[client_id]:
            path = f"/internal/clients/{client_id}/grants/{self._short[client_id].pop()}/void"
            await self._try("POST", path, {"reason": "campaign"})

    async def refund(self, client_id: str, refund_id: str, event_id: str) -> None:
        """Give back the charge of an event, if it is charged by now."""
        body = {"refundId": refund_id, "eventId": event_id, "reason": "campaign"}
        await self._try("POST", f"/internal/clients/{client_id}/refunds", body)

    async def _try(self, method: str, path: str, body: Any) -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
            await self.call(method, path, body)

    async def put_policy(self, client_id: str, *, quota: int = FIRST_QUOTA, price: int = 1) -> None:
        """Set a client's terms."""
        most = MOST_TOKENS if client_id in TOKEN_BUYERS else 1
        change = Change(client_id, datetime.now(UTC), quota=quota, price=price * most)
        self._history.changes.append(change)
        terms = policy_of(client_id, quota=quota, price=price)
        await self._insist(change, "PUT", f"/internal/policies/of-{client_id}", terms)

    async def _insist(self, change: Change, method: str, path: str, body: Any) -> None:
        for _ in range(40):
            try:
                await self.call(method, path, body)
                change.done_at = datetime.now(UTC)
                return
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                await asyncio.sleep(0.3)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send one admin call. Raises ClientResponseError for anything but success."""
        headers = {"Authorization": f"Bearer {self._stack.secrets['admin_key']}"}
        async with self._session.request(
            method, self._stack.url("metering") + path, json=body, headers=headers
        ) as response:
            response.raise_for_status()
            return await response.json()
