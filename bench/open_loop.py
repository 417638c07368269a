"""Open-loop load: requests at a constant rate, whether earlier ones are answered or not, so that waiting is counted.

`python -m bench.open_loop` reads a plan from standard input and prints what it saw; `run_open_loop` runs that on the
core of the load. A latency is counted from when its request was to be sent: a server that stands still for a second
makes all the requests of that second late (Tene, "How NOT to measure latency").
"""

import asyncio
import json
import re
import statistics
import subprocess
import sys
import uuid
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

from bench.cores import LOAD_CORE, on_core
from bench.errors import BenchError
from bench.wrk import Load
from local_stack.ports import LOOPBACK
from local_stack.processes import REPOSITORY

GRACE_SECONDS = 20.0
"""For answers that come late; what has not come by then is broken."""
CONNECTIONS = 256
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send: creates, by clients in turn, each of them a header line of its own."""

    port: int
    rate: float
    seconds: int
    client_headers: Sequence[str]


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, plan: "Sender") -> None:
        self._sender = plan
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own, of another class

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was to be sent at `due`."""
        assert self._transport is not None
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect the answer; when it is whole, say so."""
        self._buffer += data
        head, found, body = self._buffer.partition(_END)
        if not found:
            return
        length = _LENGTH.search(head)
        if length is not None and len(body) >= int(length[1]):
            self._buffer = b""
            self._sender.take_answer(self, int(head[9:12]), self._due)

    def close(self) -> None:
        """End it."""
        assert self._transport is not None
        self._transport.close()


class Sender:
    """Sends by the clock; what finds no idle connection waits, and its waiting counts."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._waiting: deque[float] = deque()
        self._sent = 0
        self.latencies: list[float] = []
        self.refused = 0
        self._done = asyncio.Event()
        self._total = int(plan.rate * plan.seconds)

    async def run(self) -> Load:
        """Open the connections, send everything, wait for the answers."""
        for _ in range(CONNECTIONS):
            _, connection = await self._loop.create_connection(lambda: Connection(self), LOOPBACK, self._plan.port)
            self._idle.append(connection)
        connections = list(self._idle)
        begun = self._loop.time()
        try:
            await self._send_all(begun)
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE_SECONDS):
                    await self._done.wait()
        finally:
            for connection in connections:
                connection.close()
        seconds = self._loop.time() - begun
        hundredths = statistics.quantiles(self.latencies, n=100)
        broken = self._total - len(self.latencies)
        return Load(len(self.latencies), seconds, self.refused, broken, hundredths[49], hundredths[98])

    async def _send_all(self, begun: float) -> None:
        for number in range(self._total):
            due = begun + number / self._plan.rate
            # Also when it is late: answers have to get in.
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            self._waiting.append(due)
            self._send_waiting()

    def take_answer(self, connection: Connection, status: int, due: float) -> None:
        """Count an answer, and use its connection again."""
        self.latencies.append(self._loop.time() - due)
        self.refused += status >= 400
        self._idle.append(connection)
        self._send_waiting()
        if len(self.latencies) == self._total:
            self._done.set()

    def _send_waiting(self) -> None:
        while self._waiting and self._idle:
            due = self._waiting.popleft()
            self._idle.pop().send(self._make_request(), due)

    def _make_request(self) -> bytes:
        header = self._plan.client_headers[self._sent % len(self._plan.client_headers)]
        self._sent += 1
        body = '{"planId":"plan-abc-123","plannedLessons":["one","two"]}'
        return (
            f"POST /api/plan-plays HTTP/1.1\r\nHost: {LOOPBACK}:{self._plan.port}\r\n{header}\r\n"
            f"Idempotency-Key: {uuid.uuid4()}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


def run_open_loop(plan: Plan) -> Load:
    """Run a plan on the core of the load. Raises BenchError."""
    with on_core(LOAD_CORE):
        done = subprocess.run(
            [sys.executable, "-m", "bench.open_loop"],
            input=json.dumps(asdict(plan)),
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            timeout=plan.seconds + 2 * GRACE_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        raise BenchError(f"the open loop failed: {done.stderr.strip()[-500:]}")
    return Load(**json.loads(done.stdout))


async def _main() -> None:
    print(json.dumps(asdict(await Sender(Plan(**json.load(sys.stdin))).run())))


if __name__ == "__main__":
    uvloop.run(_main())
