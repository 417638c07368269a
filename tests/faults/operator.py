"""Which clients there are in a run, on which terms, and what an operator does for them."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from prove.history import Change, History, Refund
from tests.faults.fault_stack import FaultStack
from tests.faults.metering_time import MeteringTime, period_of

PRICES = {"plan_play.created": 1, "plan_play.completed": 1}

STEADY = ("steady-1", "steady-2")
TIGHT = ("tight-1", "tight-2", "tight-3")
BOUNDED = ("quota-1", "quota-2")
RATED = ("rate-1",)
TOKENS, MOST_TOKENS = "llm.tokens", 5
"""What the second product sells, and the most that one of its answers may be, of which it holds the price."""
TOKEN_BUYERS = ("tokens-tight", "tokens-steady", "tokens-contract")
"""The second product's clients; the first has what it is granted, the second pays nothing."""
CONTRACT = ("contract-1", "contract-2")
CONTRACTS = (*CONTRACT, TOKEN_BUYERS[2])
"""Clients with something of everything, activity's and the second product's."""
PAYING = (*TIGHT, *CONTRACT)
"""Activity's clients that have credits, which come and go."""
PROBE = "probe"
CLIENTS = (*STEADY, *TIGHT, *BOUNDED, *RATED, *CONTRACT, PROBE)
FREE = {"*": 0}
FIRST_GRANT = 40
FIRST_QUOTA = 60
CONTRACT_POLICY = {
    "credits": "prepaid",
    "prices": {**PRICES, TOKENS: 1},
    "rates": [
        {"name": "second", "limit": 20, "periodSeconds": 1, "burst": 20},
        {"name": "minute", "limit": 600, "periodSeconds": 60, "burst": 100},
    ],
    "quotas": [
        {"name": "of a user", "limit": 15, "period": "day", "per": "user"},
        {"name": "units", "limit": 25, "counts": "units", "period": "hour"},
    ],
}
RECURRING_ID = "daily"
DAILY_CREDITS, MOST_ROLLED_OVER = 35, 10
"""So many that now a quota is reached first, and now the balance."""
DAILY = {
    "credits": DAILY_CREDITS,
    "every": "day",
    "expires": "period",
    "rollover": {"max": MOST_ROLLED_OVER},
}


def policy_of(client_id: str, *, quota: int = FIRST_QUOTA, price: int = 1) -> dict[str, Any]:
    """Return the terms a client begins with, or has after a change."""
    if client_id in CONTRACTS:
        return CONTRACT_POLICY
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

    def __init__(
        self, stack: FaultStack, session: aiohttp.ClientSession, history: History, time: MeteringTime
    ) -> None:
        self._stack = stack
        self._session = session
        self._history = history
        self._time = time
        self._short: dict[str, list[str]] = {client_id: [] for client_id in PAYING}

    async def set_up(self) -> None:
        """Give every client its policy, the tight ones their first credits, and contracts those of every day."""
        midnight, _ = period_of("day", self._time.now())
        for client_id in (*CLIENTS, *TOKEN_BUYERS):
            await self.put_policy(client_id, quota=FIRST_QUOTA, price=1)
            await self.call(
                "PUT", f"/internal/clients/{client_id}/policy", {"policyId": f"of-{client_id}", "create": True}
            )
            if client_id in (*TIGHT, TOKEN_BUYERS[0]):
                await self.grant(client_id, "first-grant", FIRST_GRANT)
            if client_id in CONTRACTS:
                path = f"/internal/clients/{client_id}/recurring-grants/{RECURRING_ID}"
                await self.call("PUT", path, {**DAILY, "startsAt": midnight.isoformat()})

    async def grant(self, client_id: str, grant_id: str, credits: int) -> None:
        """Grant credits, once."""
        change = Change(client_id, datetime.now(UTC), credits=credits)
        self._history.changes.append(change)
        body = {"grantId": grant_id, "credits": credits}
        await self._insist(change, "POST", f"/internal/clients/{client_id}/grants", body)

    async def grant_for_a_time(self, client_id: str, grant_id: str, credits: int, seconds: float) -> None:
        """Grant credits that expire: so soon that holds lie on them then, or when metering's time has moved."""
        self._short[client_id].append(grant_id)
        expires_at = self._time.now() + timedelta(seconds=seconds)
        body = {"grantId": grant_id, "credits": credits, "expiresAt": expires_at.isoformat()}
        await self._try("POST", f"/internal/clients/{client_id}/grants", body)

    async def void_one_for_a_time(self, client_id: str) -> None:
        """Take what is left of a grant for a time, where there is one."""
        if self._short[client_id]:
            path = f"/internal/clients/{client_id}/grants/{self._short[client_id].pop()}/void"
            await self._try("POST", path, {"reason": "campaign"})

    async def refund(self, client_id: str, refund_id: str, event_id: str) -> None:
        """Give back the charge of an event, if it is charged by now."""
        refund = Refund(client_id, refund_id, event_id)
        self._history.refunds.append(refund)
        body = {"refundId": refund_id, "eventId": event_id, "reason": "campaign"}
        answer = await self._try("POST", f"/internal/clients/{client_id}/refunds", body)
        refund.credits = answer and answer["credits"]

    async def refund_at_once(self, client_id: str, refund_ids: Sequence[str], event_id: str) -> None:
        """Give back the same charge under several ids, or several times under one: it comes back once."""
        await asyncio.gather(*[self.refund(client_id, refund_id, event_id) for refund_id in refund_ids])

    async def _try(self, method: str, path: str, body: Any) -> Any:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return await self.call(method, path, body)

    async def put_policy(self, client_id: str, *, quota: int = FIRST_QUOTA, price: int = 1) -> None:
        """Set a client's terms."""
        policy = policy_of(client_id, quota=quota, price=price)
        change = Change(client_id, datetime.now(UTC), policy=policy)
        self._history.changes.append(change)
        await self._insist(change, "PUT", f"/internal/policies/of-{client_id}", policy)

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
