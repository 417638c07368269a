"""What the rows of the crash table share: a client, its requests, and what there is of it in the end."""

import asyncio
import signal
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg

from local_stack.errors import StackError
from prove.breakable_stack import ACTIVITIES
from tests.faults.fail_points import arm, await_met
from tests.faults.fault_stack import FaultStack

PAYING = tuple(f"row-{number:02}" for number in range(1, 41))
"""Clients with 5 credits each, one a row."""
CREDITS = 5
DEADLINE_SECONDS = 30.0
POLL_SECONDS = 0.03


@dataclass(frozen=True, slots=True)
class End:
    """What a row of the table says in its last column."""

    facts: int
    charges: int
    holds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller got; `status` is None when the connection broke."""

    status: int | None
    body: Any = None
    is_replayed: bool = False

    @property
    def play_id(self) -> str:
        """The play that was answered."""
        return str(self.body["data"]["id"])


class CrashTable:
    """The stack, and clients for the rows to take."""

    def __init__(self, stack: FaultStack, session: aiohttp.ClientSession, tokens: dict[str, str]) -> None:
        self.stack = stack
        self.session = session
        self.tokens = tokens
        self._unused = list(reversed(PAYING))

    async def set_up(self) -> None:
        """Give every row's client its credits."""
        await self.metering(
            "PUT",
            "/internal/policies/paying",
            {"credits": "prepaid", "prices": {"plan_play.created": 1, "plan_play.completed": 1, "*": 0}},
        )
        for client_id in PAYING:
            await self.metering(
                "PUT", f"/internal/clients/{client_id}/policy", {"policyId": "paying", "create": True}
            )
            grant = {"grantId": "g", "credits": CREDITS}
            await self.metering("POST", f"/internal/clients/{client_id}/grants", grant)

    def take_row(self) -> "Row":
        """Return a row with a client that nobody used."""
        return Row(self, self._unused.pop())

    async def metering(self, method: str, path: str, body: Any = None, key: str = "admin_key") -> Any:
        """Call metering directly. Raises ClientResponseError for anything but success."""
        headers = {"Authorization": f"Bearer {self.stack.secrets[key]}"}
        url = self.stack.url("metering") + path
        async with self.session.request(method, url, json=body, headers=headers) as response:
            response.raise_for_status()
            return await response.json()

    async def mend(self) -> None:
        """Start again what is dead, wake what stands still, and wait until all are ready."""
        await self.stack.revive()
        with suppress(StackError):
            await self.stack.await_ready()
            return
        # One that has met its fail point was still dying when it was looked at.
        await self.stack.restart_ended()
        await self.stack.await_ready()


class Row:
    """One row: a client, its requests, and its end."""

    def __init__(self, table: CrashTable, client_id: str) -> None:
        self.client_id = client_id
        self.table = table
        self.stack = table.stack

    async def create(self, *, key: str | None = None, via: str = "activity-1", marker: str = "row") -> Answer:
        """Create a play."""
        headers = {"Idempotency-Key": key} if key else {}
        return await self._send(via, "POST", "", {"planId": "p", "displayName": marker}, headers)

    async def complete(self, play_id: str, *, via: str = "activity-1") -> Answer:
        """End a play."""
        return await self._send(via, "PATCH", f"/{play_id}", {"status": "ended"}, {})

    async def _send(self, via: str, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        url = f"{self.stack.url(via)}/api/plan-plays{path}"
        headers = {**headers, "Authorization": f"Bearer {self.table.tokens[self.client_id]}"}
        try:
            async with self.table.session.request(method, url, json=body, headers=headers) as response:
                is_replayed = response.headers.get("Idempotency-Replayed") == "true"
                return Answer(response.status, await response.json(), is_replayed)
        except (aiohttp.ClientError, OSError):
            return Answer(None)

    def arm(self, point: str, action: str) -> "asyncio.Task[int | None]":
        """Arm a fail point; the task answers the id of the process that met it."""
        arm(self.stack.control, point, action)
        return asyncio.create_task(await_met(self.stack.control, point, timeout_seconds=DEADLINE_SECONDS))

    async def kill_at(self, point: str, request: Callable[[], Any]) -> Answer:
        """Send a request with a fail point armed that kills; answer what the caller got once the process is dead."""
        met = self.arm(point, "kill")
        answer: Answer = await request()
        pid = await met
        assert pid is not None, f"nobody met {point}"
        await self.stack.await_end(pid)
        return answer

    def wake(self, pid: int) -> None:
        """Let a process go on that stands still."""
        for name in (*ACTIVITIES, "metering"):
            if self.stack.pid(name) == pid:
                self.stack.signal_service(name, signal.SIGCONT)

    async def end(self) -> End:
        """Wait until nothing of this client is under way, and answer what there is of it."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            unsettled = await self.fetch(
                "activity",
                "SELECT 1 FROM billable_event WHERE client_id = $1 AND outcome = 'happened'",
            )
            held = await self.holds("held")
            if not unsettled and not held:
                break
            assert time.monotonic() < deadline, f"{self.client_id} does not come to rest: {unsettled}, {held}"
            await asyncio.sleep(POLL_SECONDS)
        facts = await self.fetch(
            "activity",
            "SELECT 1 FROM plan_play WHERE client_id = $1 UNION ALL "
            "SELECT 2 FROM plan_play WHERE client_id = $1 AND first_ended_at IS NOT NULL",
        )
        charges = await self.fetch("metering", "SELECT 1 FROM ledger_entry WHERE client_id = $1 AND kind = 'spend'")
        holds = await self.fetch(
            "metering", "SELECT state FROM hold_history WHERE client_id = $1 ORDER BY held_at, state"
        )
        balance = await self.table.metering("GET", f"/internal/clients/{self.client_id}/balance")
        assert balance["available"] == CREDITS - len(charges)
        return End(len(facts), len(charges), tuple(hold["state"] for hold in holds))

    async def holds(self, state: str) -> list[asyncpg.Record]:
        """Return this client's holds in a state."""
        statement = "SELECT hold_id, event_id FROM hold_history WHERE client_id = $1 AND state = $2"
        return await self.fetch("metering", statement, state)

    async def await_hold(self, state: str) -> None:
        """Wait until a hold of this client is in a state."""
        await self.await_rows("metering", f"SELECT 1 FROM hold_history WHERE client_id = $1 AND state = '{state}'")

    async def await_rows(self, database: str, statement: str) -> None:
        """Wait until a statement about this client finds something."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not await self.fetch(database, statement):
            assert time.monotonic() < deadline, f"{self.client_id}: nothing is found by {statement}"
            await asyncio.sleep(POLL_SECONDS)

    async def fetch(self, database: str, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Read rows about this client, who is $1."""
        connection = await asyncpg.connect(self.stack.dsns[database], timeout=5)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, self.client_id, *arguments)
            return rows
        finally:
            await connection.close()

    def event(self, **fields: Any) -> dict[str, Any]:
        """Make an event of this client's, for calls to metering itself."""
        event = {"holdId": str(uuid.uuid4()), "eventId": str(uuid.uuid4()), "eventType": "row.tested"}
        return {**event, "clientId": self.client_id, **fields}


def ids_of(event: dict[str, Any]) -> dict[str, Any]:
    """Return what settle and release want of an event."""
    return {name: event[name] for name in ("clientId", "holdId", "eventId")}
