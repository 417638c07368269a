"""Send requests without end that are nearly right: python -m tests.security.hammer --requests 1000000.

Each is a good request of one of the three services with something about it changed: a field, a byte, a header, the
query. No answer may be a 5xx, every error must be in its API's own shape, memory must not grow with what was sent,
and both audits must be sound at the end. Needs a running stack, named by STACK_JSON.

Long because every kind of nearly right request is made here.
"""

import asyncio
import collections
import json
import os
import random
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import typer

from local_stack.ports import LOOPBACK_OPENER
from local_stack.processes import REPOSITORY

CONNECTIONS_PER_SERVICE = 16
ANSWER_TIMEOUT_SECONDS = 30.0
MEMORY_GROWTH_MB = 64
"""By how much a process may have grown at the end: its caches fill, and they are bounded."""

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**400, 1.5, 1e308),
    *("", " ", "x", "x" * 300, "x" * 70_000, "\x00", "a\u0000b", "\ud800", "\u202e", "\U0001f600" * 100),
    *("'; DROP TABLE hold; --", "../../etc/passwd", "%00", "null", "NaN", "not-a-uuid", str(uuid.UUID(int=0))),
    *([], [[]], {}, {"$ne": 1}, [None], ["x"] * 600, "2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
]
RAW_BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"\xff\xfe",
    b"[" * 5000,
    b'{"a":' * 5000,
    b'{"a":NaN}',
    b'{"a":1,"a":2}',
]
QUERIES = [
    "",
    "?limit=1",
    "?limit=0",
    "?limit=x",
    "?cursor=AAAA",
    "?status=%00",
    "?clientId=%F0%9F%98%80&limit=1",
    "?a=b&a=c",
]


@dataclass(frozen=True)
class Call:
    """A good request, to be spoiled."""

    service: str
    method: str
    path: str
    body: dict[str, Any] | None


@dataclass(frozen=True)
class Target:
    """Where a service is, and what opens it."""

    host: str
    port: int
    credentials: tuple[str, ...]
    shape: frozenset[str]


def list_calls(play_id: str) -> list[Call]:
    """List one good request per route that reads a body or an id."""
    event = {"holdId": "", "eventId": "", "clientId": "demo-unlimited", "eventType": "plan_play.created", "units": 1}
    user = {"first_name": "a", "last_name": "b", "email": "a@example.com"}
    plan = {"plan_name": "n", "description": "d", "collection_id": "c", "color": "#fff"}
    return [
        Call("catalog", "POST", "/generate-client-auth-token",
             {"client_id": "demo", "client_secret": "demo-secret", "fingerprint": "f", "user": user}),
        Call("catalog", "POST", "/get-plans", {"collection_id": "collection-123"}),
        Call("catalog", "POST", "/get-plan-details", {"plan_id": "plan-abc-123"}),
        Call("catalog", "POST", "/sync-plan", {**plan, "plan_id": "hammered"}),
        Call("activity", "POST", "/api/plan-plays",
             {"planId": "p", "plannedLessons": ["a"], "email": "a@example.com", "displayName": "n",
              "photoURL": "https://example.com/p.png", "assignmentSource": "s", "riskLevel": "r"}),
        Call("activity", "GET", "/api/plan-plays?limit=2", None),
        Call("activity", "GET", f"/api/plan-plays/{play_id}", None),
        Call("activity", "PATCH", f"/api/plan-plays/{play_id}",
             {"status": "ended", "currentLessonIndex": 1, "completedLessons": ["a"], "totalLessonsCompleted": 1,
              "completedAt": "2026-01-01T00:00:00Z"}),
        Call("metering", "POST", "/internal/events/authorize", {"events": [event, dict(event)]}),
        Call("metering", "POST", "/internal/events/settle", {"events": [event]}),
        Call("metering", "POST", "/internal/events/release", {"holdIds": [str(uuid.uuid4())]}),
        Call("metering", "GET", "/internal/events?state=held&limit=2", None),
        Call("metering", "PUT", "/internal/policies/hammered",
             {"rates": [{"name": "r", "limit": 1, "periodSeconds": 1, "burst": 1}],
              "quotas": [{"name": "q", "limit": 1, "period": "day"}],
              "prices": {"plan_play.created": 1}, "credits": "prepaid", "mode": "enforce"}),
        Call("metering", "PUT", "/internal/clients/hammered/policy", {"policyId": "hammered", "create": True}),
        Call("metering", "POST", "/internal/clients/hammered/grants", {"grantId": "g", "credits": 1}),
        Call("metering", "POST", "/internal/clients/hammered/adjustments",
             {"adjustmentId": "a", "credits": 1, "reason": "r"}),
        Call("metering", "GET", "/internal/clients/hammered/ledger?limit=2", None),
    ]  # fmt: skip


def spoil(call: Call, target: Target, rng: random.Random) -> bytes:
    """Write the request's bytes, with up to three things about it changed."""
    path, headers = call.path, {"Host": "localhost", "Authorization": f"Bearer {rng.choice(target.credentials)}"}
    headers["Content-Type"] = "application/json"
    body = json.dumps(_freshen(call.body)).encode() if call.body is not None else b""
    for _ in range(rng.randrange(4)):
        match rng.randrange(8):
            case 0 | 1 | 2 if call.body is not None:
                body = json.dumps(_change(_freshen(call.body), rng)).encode()
            case 3:
                body = rng.choice(RAW_BODIES)
            case 4 if body:
                at = rng.randrange(len(body))
                body = body[:at] + bytes([rng.randrange(256)]) + body[at + rng.randrange(3) :]
            case 5:
                path = path.partition("?")[0] + rng.choice(QUERIES)
                if call.path.startswith("/api/plan-plays?") and "limit" not in path:
                    path += ("&" if "?" in path else "?") + "limit=2"  # else the whole list, again and again
            case 6:
                path = path.rpartition("/")[0] + "/" + quote(str(rng.choice(VALUES))[:500], errors="replace")
            case _:
                name = rng.choice(
                    ["Authorization", "Content-Type", "Idempotency-Key", "Content-Encoding", "X-Request-ID"]
                )
                headers[name] = rng.choice(["", "x", "gzip", "Bearer x.y.z", "a" * 300, "text/xml", "caf\xe9", "{}"])
    lines = [f"{call.method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1", "replace") + body


def _freshen(body: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(body))
    for event in document.get("events", []):
        event["holdId"], event["eventId"] = str(uuid.uuid4()), f"plan_play.created:{uuid.uuid4()}"
    return document


def _change(document: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    places = list(_places(document))
    holder, key = rng.choice(places)
    match rng.randrange(4):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder["unknown"] = rng.choice(VALUES)
        case _:
            holder[key] = rng.choice(VALUES)
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, nested in list(items):
        yield value, key
        yield from _places(nested)


class Hammer:
    """Sends spoiled requests over many connections and keeps what came back."""

    def __init__(self, targets: dict[str, Target], calls: list[Call], requests: int, seed: int) -> None:
        self.targets = targets
        self.calls = calls
        self.left = requests
        self.statuses: collections.Counter[int] = collections.Counter()
        self.faults: list[str] = []
        self._seed = seed

    async def run(self) -> None:
        """Send all of it, and say how far it is."""
        async with asyncio.TaskGroup() as group:
            for service in self.targets:
                for number in range(CONNECTIONS_PER_SERVICE):
                    group.create_task(self._connection(service, random.Random(f"{self._seed} {service} {number}")))
            group.create_task(self._report())

    async def _report(self) -> None:
        while self.left > 0:
            await asyncio.sleep(5)
            print(f"\r{self.left:,} left, {len(self.faults)} faults  ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)

    async def _connection(self, service: str, rng: random.Random) -> None:
        target = self.targets[service]
        calls = [call for call in self.calls if call.service == service]
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while self.left > 0:
            self.left -= 1
            request = spoil(rng.choice(calls), target, rng)
            if streams is None:
                streams = await asyncio.open_connection(target.host, target.port)
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                    streams[1].write(request)
                    keep = await self._read_answer(streams[0], target, request)
            except (OSError, asyncio.IncompleteReadError):
                keep = False  # it closes after what it would not read; the next connection shows that it lives
                self.statuses[0] += 1
            if not keep:
                streams[1].close()
                streams = None

    async def _read_answer(self, reader: asyncio.StreamReader, target: Target, request: bytes) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(head.split(" ", 2)[1])
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        if "content-length" not in headers:
            raise ConnectionError("a stream")
        body = await reader.readexactly(int(headers["content-length"]))
        self.statuses[status] += 1
        shaped = status < 400 or target.shape <= set(json.loads(body))
        if status >= 500 or not shaped:
            self.faults.append(f"{status} {body[:200]!r} to {request[:600]!r}")
        return headers.get("connection") != "close"


def _ask(url: str, token: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with LOOPBACK_OPENER.open(request, timeout=10) as response:
        return json.load(response)["data"]


def _resident_mb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


def main(
    requests: Annotated[int, typer.Option(min=1, help="How many, over all services.")] = 100_000,
    seed: Annotated[int, typer.Option(help="The same seed spoils the same way.")] = 1,
) -> None:
    """Send nearly right requests to a running stack, and see that nothing minds."""
    stack = json.loads(Path(os.environ["STACK_JSON"]).read_text())
    credentials = {"client_id": "demo-unlimited", "client_secret": "demo-unlimited-secret", "fingerprint": "hammer"}
    token = _ask(f"{stack['catalog']['url']}/generate-client-auth-token", "", credentials)["access_token"]
    play_id = _ask(f"{stack['activity']['url']}/api/plan-plays", token, {"planId": "p"})["id"]
    keys = stack["service_keys"]
    shapes = {"catalog": {"statusCode", "data", "message"}, "activity": {"error"}, "metering": {"error", "code"}}
    targets = {}
    for service, shape in shapes.items():
        where = urlsplit(stack[service]["url"])
        opens = (keys["events"], keys["admin"]) if service == "metering" else (token,)
        targets[service] = Target(where.hostname or "", where.port or 0, opens, frozenset(shape))
    hammer = Hammer(targets, list_calls(play_id), requests, seed)
    before = {service: _resident_mb(stack["pids"][service]) for service in targets}
    began = time.monotonic()
    asyncio.run(hammer.run())
    took = time.monotonic() - began
    after = {service: _resident_mb(stack["pids"][service]) for service in targets}
    print(f"{requests:,} requests in {took:.0f} s; answers: {dict(sorted(hammer.statuses.items()))} (0: cut off)")
    for service in targets:
        print(f"{service}: {before[service]} MB before, {after[service]} MB after")
        if after[service] - before[service] > MEMORY_GROWTH_MB:
            hammer.faults.append(f"{service} grew by {after[service] - before[service]} MB")
    for service in ("metering", "activity"):
        variable = f"{service.upper()}_POSTGRES_DSN"
        environment = {**os.environ, variable: stack["postgres"]["dsn"][service]}
        command = [sys.executable, "-m", f"{service}_service", "audit"]
        if subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode:
            hammer.faults.append(f"the audit of {service} failed")
    print("\n".join(hammer.faults[:20]) or "no fault")
    raise typer.Exit(1 if hammer.faults else 0)


if __name__ == "__main__":
    application = typer.Typer(pretty_exceptions_enable=False)
    application.command()(main)
    application()
