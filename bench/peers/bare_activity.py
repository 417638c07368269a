"""What aiohttp leaves room for: a bare handler with the calls and statements of a create of the activity service.

`python -m bench.peers.bare_activity`, started in the activity service's place with its settings: claims from a
dictionary, orjson, the same call to metering and the same insert, each shared by all who wait, a loop that settles.
No token is verified, nothing is read strictly, bounded, logged, counted or kept from other clients; a key that comes
again is answered 500.
"""

import asyncio
import base64
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg
import orjson
import uvloop
from aiohttp import web
from uuid_utils import NAMESPACE_URL, uuid5, uuid7

from activity_service.plays.creation_store import CreationStore
from local_stack.ports import LOOPBACK
from local_stack.topology import HEALTH_PATH
from metering_client.outbox_store import BATCH_EVENTS, OutboxStore
from metering_client.relay import GATHER_SECONDS

RETENTION = timedelta(days=1)
RESOLVE_WITHIN_SECONDS = 35


class Shared:
    """One piece of work in flight, on all who wait; whoever comes meanwhile is in the next."""

    def __init__(self, work: Callable[[list[Any]], Awaitable[Sequence[Any]]]) -> None:
        self._work = work
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None

    def submit(self, item: Any) -> "asyncio.Future[Any]":
        """Return a future of what comes of `item`."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return future

    async def _run(self) -> None:
        # Where the work fails, its callers wait until the load gives them up: then the run is wrong.
        while self._waiting:
            batch, self._waiting = self._waiting, []
            outcomes = await self._work([item for item, _ in batch])
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                future.set_result(outcome)
        self._task = None


class BareActivity:
    """The handler, and what it calls."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._dsn = environment["ACTIVITY_POSTGRES_DSN"]
        self._url = environment["ACTIVITY_METERING_URL"]
        self._headers = {
            "Authorization": f"Bearer {environment['ACTIVITY_METERING_KEY']}",
            "Content-Type": "application/json",
        }
        self._claims: dict[str, dict[str, Any]] = {}
        self._committed: list[dict[str, Any]] = []
        self._decisions, self._plays = Shared(self._authorize), Shared(self._insert)

    async def live(self, _: web.Application) -> AsyncIterator[None]:
        """Open a session and two connections, and settle meanwhile."""
        async with aiohttp.ClientSession() as self._session:
            self._inserting, self._deleting = [await asyncpg.connect(self._dsn) for _ in range(2)]
            settling = asyncio.create_task(self._settle())
            yield
            settling.cancel()
            with suppress(asyncio.CancelledError):
                await settling
            await self._inserting.close()
            await self._deleting.close()

    async def create(self, request: web.Request) -> web.Response:
        """POST /api/plan-plays."""
        client_id = self._find_claims(request.headers["Authorization"])["client_id"]
        raw = await request.read()
        body = orjson.loads(raw)
        play_id = str(uuid5(NAMESPACE_URL, f"{client_id} {request.headers['Idempotency-Key']}"))
        event = {"clientId": client_id, "holdId": str(uuid7()), "eventId": f"plan_play.created:{play_id}", "units": 1}
        decision = await self._decisions.submit({**event, "eventType": "plan_play.created"})
        if decision["decision"] != "granted":
            raise web.HTTPTooManyRequests
        now = datetime.now(UTC).isoformat()
        if not await self._plays.submit(_make_row(event, decision["heldAt"], play_id, body, raw, now)):
            raise web.HTTPInternalServerError
        self._committed.append(event)
        answer = orjson.dumps({"data": _make_play(client_id, play_id, body, now)})
        return web.Response(body=answer, status=201, content_type="application/json")

    def _find_claims(self, header: str) -> dict[str, Any]:
        claims = self._claims.get(header)
        if claims is None:
            payload = header.split(".")[1]
            claims = self._claims[header] = orjson.loads(base64.urlsafe_b64decode(payload + "=="))
        return claims

    async def _authorize(self, events: list[dict[str, Any]]) -> Sequence[Any]:
        answer = await self._post("authorize", {"events": events, "resolveWithinSeconds": RESOLVE_WITHIN_SECONDS})
        decisions: Sequence[Any] = answer["decisions"]
        return decisions

    async def _insert(self, rows: list[dict[str, Any]]) -> Sequence[bool]:
        for number, row in enumerate(rows):
            row["n"] = number
        stored = [False] * len(rows)
        found = await self._inserting.fetch(CreationStore._INSERT, orjson.dumps(rows).decode(), RETENTION)
        for number, is_new, is_announced in found:
            stored[number] = is_new and is_announced
        return stored

    async def _settle(self) -> None:
        while True:
            await asyncio.sleep(GATHER_SECONDS)
            while events := self._committed[:BATCH_EVENTS]:
                del self._committed[:BATCH_EVENTS]
                answer = await self._post("settle", {"events": events})
                assert all(each["state"] == "settled" for each in answer["results"])
                await self._deleting.execute(OutboxStore._DELETE_SETTLED, [event["holdId"] for event in events])

    async def _post(self, call: str, body: Mapping[str, Any]) -> Any:
        url = f"{self._url}/internal/events/{call}"
        async with self._session.post(url, data=orjson.dumps(body), headers=self._headers) as response:
            response.raise_for_status()
            return orjson.loads(await response.read())


def _make_row(
    event: Mapping[str, Any], held_at: str, play_id: str, body: Mapping[str, Any], raw: bytes, now: str
) -> dict[str, Any]:
    hold_id = event["holdId"]
    return {
        "hold_id": hold_id,
        "held_at": held_at,
        "attempted": int(hold_id[:8] + hold_id[9:13], 16),
        "event_id": event["eventId"],
        "event_type": "plan_play.created",
        "units": 1,
        "id": play_id,
        "client_id": event["clientId"],
        "plan_id": body["planId"],
        "planned_lessons": body.get("plannedLessons", []),
        "created_at": now,
        "fingerprint": f"\\x{hashlib.sha256(raw).hexdigest()}",
    }


def _make_play(client_id: str, play_id: str, body: Mapping[str, Any], now: str) -> dict[str, Any]:
    return {
        "id": play_id,
        "planId": body["planId"],
        "clientId": client_id,
        "userId": None,
        "status": "active",
        "plannedLessons": body.get("plannedLessons", []),
        "currentLessonIndex": 0,
        "completedLessons": [],
        "completedLessonPlays": [],
        "totalLessonsCompleted": 0,
        "email": None,
        "displayName": None,
        "photoURL": None,
        "assignmentSource": None,
        "riskLevel": None,
        "createdAt": now,
        "updatedAt": now,
        "lastPlayedAt": None,
        "completedAt": None,
    }


async def _say_ready(_: web.Request) -> web.Response:
    return web.Response()


def main() -> None:
    """Serve until SIGTERM; health at the same place as the service's, too."""
    activity = BareActivity(os.environ)
    app = web.Application()
    app.router.add_post("/api/plan-plays", activity.create)
    app.router.add_get(HEALTH_PATH, _say_ready)
    app.cleanup_ctx.append(activity.live)
    ports = [int(os.environ[f"ACTIVITY_{name}"]) for name in ("PORT", "OPS_PORT")]
    listening = [socket.create_server((LOOPBACK, port), backlog=1024) for port in ports]
    web.run_app(app, sock=listening, access_log=None, print=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main()
