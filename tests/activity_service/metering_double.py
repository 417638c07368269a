"""Metering as its contract says, in memory, behind a real HTTP server; it refuses, stalls and lies when told to."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

KEY = "key-of-the-activity-service"


class Gate:
    """A point that a call passes; a test can close it, wait until somebody stands there, and open it again."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.reached = asyncio.Event()

    def close(self) -> None:
        self._open.clear()
        self.reached.clear()

    def open(self) -> None:
        self._open.set()

    async def pass_through(self) -> None:
        self.reached.set()
        await self._open.wait()


@dataclass
class Hold:
    event: dict[str, Any]
    state: str = "held"
    held_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class MeteringDouble:
    """Decides and remembers. `refusal` denies all; `credits` is what is left to spend, None for no limit.

    `says[call]` replaces the answer of a call by (status, body) after its effect took place;
    `answered[call]` is a gate behind the effect, before the answer.
    """

    def __init__(self) -> None:
        self.holds: dict[str, Hold] = {}
        self.charges: dict[str, int] = {}
        self.refusal: dict[str, Any] | None = None
        self.credits: int | None = None
        self.poisoned: set[str] = set()
        self.malformed: set[str] = set()
        self.breaking: set[str] = set()
        self.undecidable: set[str] = set()
        self.held_page_size = 500
        self.says: dict[str, tuple[int, bytes]] = {}
        self.answered = {name: Gate() for name in ("authorize", "try_out", "settle", "release", "list_held")}
        self.calls: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.limits: list[dict[str, Any]] = []
        """What is said to be left after each grant."""

    def create_app(self) -> web.Application:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/internal/events/authorize", self._authorize)
        app.router.add_post("/internal/events/settle", self._settle)
        app.router.add_post("/internal/events/release", self._release)
        app.router.add_get("/internal/events", self._list_held)
        return app

    def open_all(self) -> None:
        for gate in self.answered.values():
            gate.open()

    def states(self) -> list[str]:
        return sorted(hold.state for hold in self.holds.values())

    def events_of(self, call: str) -> list[dict[str, Any]]:
        return [event for name, body in self.calls if name == call for event in body["events"]]

    async def _authorize(self, request: web.Request) -> web.Response:
        if (await request.json()).get("dryRun"):
            return await self._try_out(request)
        events = await self._read(request, "authorize")
        return await self._answer("authorize", {"decisions": [self._decide(event) for event in events]})

    async def _try_out(self, request: web.Request) -> web.Response:
        invalid = {"holdId": None, "eventId": None, "decision": "invalid", "code": "invalid_event", "message": "No."}
        assert await self._read(request, "try_out") == [{}]
        return await self._answer("try_out", {"decisions": [invalid]})

    def _decide(self, event: dict[str, Any]) -> dict[str, Any]:
        answer = {"holdId": event["holdId"], "eventId": event["eventId"]}
        content = {name: value for name, value in event.items() if name != "holdId"}
        known = self.holds.get(event["holdId"])
        live = self._live_hold(event["eventId"])
        if known and known.state == "released":
            return {**answer, "decision": "conflict", "code": "hold_released", "message": "No."}
        if event["eventId"] in self.undecidable:
            return {**answer, "decision": "error", "code": "not_decided", "message": "Not now."}
        if live and self.holds[live].event != content:
            return {**answer, "decision": "conflict", "code": "event_with_other_content", "message": "No."}
        if live:
            return {**answer, "decision": "granted", "holdId": live, **self._say_state(live)}
        if self.refusal:
            return {**answer, "decision": "denied", **self.refusal}
        if self.credits is not None:
            if self.credits == 0:
                return {**answer, "decision": "denied", "code": "api_balance_exhausted", "retryAfterSeconds": None}
            self.credits -= 1
        self.holds[event["holdId"]] = Hold(content)
        granted = {**answer, "decision": "granted", **self._say_state(event["holdId"]), "receipt": {"credits": 1}}
        return granted | ({"limits": self.limits} if self.limits else {})

    def _say_state(self, hold_id: str) -> dict[str, Any]:
        hold = self.holds[hold_id]
        return {"state": hold.state} | ({"heldAt": hold.held_at.isoformat()} if hold.state == "held" else {})

    def _live_hold(self, event_id: str) -> str | None:
        found = (
            i for i, hold in self.holds.items() if hold.event.get("eventId") == event_id and hold.state != "released"
        )
        return next(found, None)

    async def _settle(self, request: web.Request) -> web.Response:
        events = await self._read(request, "settle")
        if any(event["eventId"] in self.malformed for event in events):
            return web.json_response({"error": "Invalid request"}, status=400)
        if any(event["eventId"] in self.breaking for event in events):
            return web.json_response({"error": "Internal server error"}, status=500)
        return await self._answer("settle", {"results": [self._charge(event) for event in events]})

    def _charge(self, event: dict[str, Any]) -> dict[str, Any]:
        answer = {"holdId": event["holdId"], "eventId": event["eventId"]}
        if event["eventId"] in self.poisoned:
            return {**answer, "state": "conflict", "code": "hold_of_another_event", "message": "No."}
        if event["eventId"] in self.undecidable:
            return {**answer, "state": "error", "code": "not_decided", "message": "Not now."}
        hold_id = event["holdId"]
        if hold_id not in self.holds or self.holds[hold_id].state == "released":
            hold_id = self._live_hold(event["eventId"]) or hold_id
        if hold_id not in self.holds or self.holds[hold_id].state == "released":
            if "eventType" not in event:
                return {**answer, "state": "unknown"}
            self.holds[hold_id] = Hold({n: v for n, v in event.items() if n not in ("holdId", "happenedAt")})
        self.holds[hold_id].state = "settled"
        self.charges[event["eventId"]] = 1
        return {**answer, "state": "settled", "credits": 1, "late": False}

    async def _release(self, request: web.Request) -> web.Response:
        events = await self._read(request, "release")
        assert len({event["holdId"] for event in events}) == len(events)
        return await self._answer("release", {"results": [self._give_back(event["holdId"]) for event in events]})

    def _give_back(self, hold_id: str) -> dict[str, str]:
        hold = self.holds.setdefault(hold_id, Hold({}, "released"))
        if hold.state == "held":
            hold.state = "released"
            if self.credits is not None:
                self.credits += 1
        return {"holdId": hold_id, "state": hold.state}

    async def _list_held(self, request: web.Request) -> web.Response:
        self._note(request, "list_held", dict(request.query))
        after = request.query.get("cursor", "")
        held = [
            {"holdId": hold_id, **hold.event, "heldAt": hold.held_at.isoformat()}
            for hold_id, hold in sorted(self.holds.items())
            if hold.state == "held" and hold_id > after
        ]
        page = held[: self.held_page_size]
        cursor = page[-1]["holdId"] if len(held) > len(page) else None
        return await self._answer("list_held", {"events": page, "nextCursor": cursor})

    async def _read(self, request: web.Request, call: str) -> Sequence[dict[str, Any]]:
        events: list[dict[str, Any]] = (await self._read_body(request, call))["events"]
        assert 1 <= len(events) <= 500
        return events

    async def _read_body(self, request: web.Request, call: str) -> dict[str, Any]:
        body: dict[str, Any] = await request.json()
        self._note(request, call, body)
        return body

    def _note(self, request: web.Request, call: str, said: Any) -> None:
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        self.calls.append((call, said))
        self.headers.append(dict(request.headers))

    async def _answer(self, call: str, document: dict[str, Any]) -> web.Response:
        await self.answered[call].pass_through()
        if call in self.says:
            status, body = self.says[call]
            return web.Response(status=status, body=body, content_type="application/json")
        return web.json_response(document)
