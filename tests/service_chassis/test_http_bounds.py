"""Callers that are slow, idle, many or wrong, over real sockets: each ends within its bound, in the API's shape.

Long because every bound on a connection is tried over a raw socket.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from service_chassis.application import METRICS, create_server, create_web_app
from service_chassis.errors import ServiceError
from service_chassis.http import server as http_server
from service_chassis.http.bounds import HttpBounds
from service_chassis.http.json_body import parse_json, read_bytes
from service_chassis.http.server import ARRIVAL_SECONDS, HttpServer

SHORT = 0.2
BOUNDS = HttpBounds(check_seconds=0.02, lingering_seconds=SHORT)
PATIENCE_SECONDS = 10.0


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A connection on which a test writes bytes as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> Answer:
        """Read one answer that has a Content-Length."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.strip().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers["Content-Length"]))
        return Answer(int(status.split()[1]), headers, body)

    async def closed(self) -> bool:
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


def render(error: ServiceError) -> web.Response:
    document = {"oops": error.message, "fields": [detail.field for detail in error.details]}
    return web.json_response(document, status=error.status)


Connect = Callable[..., Awaitable[Wire]]


@dataclass
class Running:
    app: web.Application
    server: HttpServer
    port: int
    hang: asyncio.Event
    cancelled: asyncio.Event
    wires: list[Wire] = field(default_factory=list)

    async def connect(self) -> Wire:
        self.wires.append(Wire(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.wires[-1]

    def refused(self, reason: str) -> float:
        labels = {"listener": "api", "reason": reason}
        value = self.app[METRICS].registry.get_sample_value("http_connections_refused_total", labels)
        return value or 0.0


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    started: list[tuple[HttpServer, Running]] = []

    async def run(**changed: Any) -> Running:
        app = create_web_app(render_error=render, body_limit_bytes=100_000, bounds=replace(BOUNDS, **changed))
        hang, cancelled = asyncio.Event(), asyncio.Event()

        async def echo(request: web.Request) -> web.Response:
            return web.json_response(parse_json(await read_bytes(request)))

        async def wait(_: web.Request) -> web.Response:
            try:
                await hang.wait()
            finally:
                cancelled.set()
            return web.json_response({})

        async def stream(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await hang.wait()
            await response.write(b"x" * 10)
            return response

        async def large(_: web.Request) -> web.Response:
            return web.Response(body=b"x" * 50_000_000)

        app.router.add_post("/echo", echo)
        app.router.add_get("/wait", wait)
        app.router.add_get("/stream", stream)
        app.router.add_get("/large", large)
        server = create_server(app)
        await server.setup()
        running = Running(app, server, await server.listen("127.0.0.1", 0), hang, cancelled)
        started.append((server, running))
        return running

    yield run
    for server, running in started:
        running.hang.set()
        for wire in running.wires:
            wire.writer.close()
            with contextlib.suppress(ConnectionError):
                await wire.writer.wait_closed()
        await server.close()


Start = Callable[..., Awaitable[Running]]
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


async def exchange(running: Running, data: bytes) -> tuple[Answer, Wire]:
    wire = await running.connect()
    await wire.send(data)
    return await wire.receive(), wire


MALFORMED = {
    "no path": b"GET * HTTP/1.1\r\nHost: x\r\nA: marked-value\r\n\r\n",
    "no HTTP": b"\x16\x03\x01marked-value\r\n\r\n",
    "a bad request line": b"GET marked-value\r\n\r\n",
    "a bad version": b"GET / HTTP/9.marked-value\r\n\r\n",
    "a bad header name": b"GET / HTTP/1.1\r\nHost: x\r\nmarked value: 1\r\n\r\n",
    "a NUL in a header": b"GET / HTTP/1.1\r\nHost: x\r\nA: marked-value\x00\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\n marked-value\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}1",
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a signed length": POST + b"Content-Length: +2\r\n\r\n{}",
    "a length that is no number": POST + b"Content-Length: marked-value\r\n\r\n{}",
    "a hidden transfer coding": POST + b"Transfer-Encoding: marked-value, chunked, identity\r\n\r\n0\r\n\r\n",
    "two content types": POST + b"Content-Type: text/marked-value\r\nContent-Length: 2\r\n\r\n{}",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: marked-value\r\n\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_no_http_is_400_in_our_shape_echoes_nothing_and_ends_the_connection(
    start: Start, data: bytes
) -> None:
    running = await start()
    answer, wire = await exchange(running, data)
    assert (answer.status, answer.json["fields"]) == (400, ["request"])
    assert answer.headers["Server"] == "http"
    assert b"marked" not in answer.body
    assert await wire.closed()
    assert running.refused("malformed") == 1


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"x" * 9000 + b": 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: 1\r\n" * 500 + b"\r\n",
    ],
    ids=["line", "value", "name", "many"],
)
async def test_a_head_that_is_too_long_is_431(start: Start, data: bytes) -> None:
    answer, wire = await exchange(await start(), data)
    assert (answer.status, answer.json["oops"]) == (431, "Request line or headers too large")
    assert await wire.closed()


async def test_an_expectation_we_do_not_know_is_417_in_our_shape(start: Start) -> None:
    answer, _ = await exchange(await start(), POST + b"Expect: marked-value\r\nContent-Length: 2\r\n\r\n{}")
    assert answer.status == 417
    assert b"marked" not in answer.body


@pytest.mark.parametrize("path", [b"/nothing", b"/%00", b"/%ff", b"/..%2f..%2f", b"http://elsewhere/nothing"])
async def test_an_unknown_path_is_404_in_our_shape(start: Start, path: bytes) -> None:
    answer, _ = await exchange(await start(), b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (answer.status, answer.json["oops"]) == (404, "Not Found")


async def test_a_wrong_method_is_405_and_says_which_are_right(start: Start) -> None:
    answer, _ = await exchange(await start(), b"DELETE /echo HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("chunk", [b"zz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}x\r\n0\r\n\r\n", b"fffffffffffffffff\r\n{}"])
async def test_broken_chunks_are_400_and_end_the_connection(start: Start, chunk: bytes) -> None:
    answer, wire = await exchange(await start(), POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)
    assert (answer.status, answer.json["fields"]) in [(400, ["body"]), (400, ["request"])]
    assert await wire.closed()


async def test_chunks_are_read_and_counted_against_the_limit(start: Start) -> None:
    running = await start()
    answer, _ = await exchange(running, POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
    assert (answer.status, answer.json) == (200, {})
    piece = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    answer, _ = await exchange(running, POST + b"Transfer-Encoding: chunked\r\n\r\n" + piece * 5)
    assert answer.status == 413


@pytest.mark.parametrize(
    "headers", [b"Content-Encoding: gzip\r\n", b"Content-Encoding: identity\r\nContent-Encoding: br\r\n"]
)
async def test_an_encoded_body_is_415_whatever_it_holds(start: Start, headers: bytes) -> None:
    answer, _ = await exchange(await start(), POST + headers + b"Content-Length: 4\r\n\r\n\x1f\x8b{}")
    assert answer.status == 415


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"identity, chunked"])
async def test_a_transfer_coding_beside_chunked_is_415(start: Start, coding: bytes) -> None:
    answer, _ = await exchange(await start(), POST + b"Transfer-Encoding: %b\r\n\r\n2\r\n{}\r\n0\r\n\r\n" % coding)
    assert answer.status == 415


async def test_a_body_cut_short_by_its_sender_leaves_nothing_broken(start: Start) -> None:
    running = await start()
    wire = await running.connect()
    await wire.send(POST + b"Content-Length: 10\r\n\r\n{}")
    wire.writer.close()
    answer, _ = await exchange(running, POST + b"Content-Length: 2\r\n\r\n{}")
    assert answer.status == 200


async def test_headers_that_trickle_are_cut_off_with_408(start: Start) -> None:
    running = await start(head_seconds=SHORT)
    answer, wire = await exchange(running, b"GET / HTTP/1.1\r\nHost:")
    assert (answer.status, answer.json["oops"]) == (408, "Request headers took too long")
    assert await wire.closed()
    assert running.refused("slow head") == 1


async def test_headers_that_trickle_are_cut_off_on_a_used_connection_too(start: Start) -> None:
    running = await start(head_seconds=SHORT)
    answer, wire = await exchange(running, POST + b"Content-Length: 2\r\n\r\n{}")
    assert answer.status == 200
    await wire.send(b"GET /")
    assert (await wire.receive()).status == 408


async def test_a_body_that_trickles_is_cut_off_with_408(start: Start) -> None:
    answer, wire = await exchange(await start(body_seconds=SHORT), POST + b"Content-Length: 10\r\n\r\n{")
    assert (answer.status, answer.json["oops"]) == (408, "Request body took too long")
    assert await wire.closed()


async def test_a_silent_connection_is_closed_new_or_used(start: Start) -> None:
    running = await start(idle_seconds=SHORT)
    assert await (await running.connect()).closed()
    answer, wire = await exchange(running, POST + b"Content-Length: 2\r\n\r\n{}")
    assert answer.status == 200
    assert await wire.closed()


async def test_a_handler_that_hangs_is_cancelled_and_answered_500(start: Start) -> None:
    running = await start(handler_seconds=SHORT)
    answer, _ = await exchange(running, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (answer.status, answer.json["oops"]) == (500, "Internal server error")
    assert running.cancelled.is_set()


async def test_an_answer_that_has_begun_may_take_longer_than_a_handler(start: Start) -> None:
    running = await start(handler_seconds=SHORT)
    wire = await running.connect()
    await wire.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await wire.reader.readuntil(b"\r\n\r\n")
        late, _ = await exchange(running, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        assert late.status == 500  # so the time is over
        running.hang.set()
        assert await wire.reader.readuntil(b"0\r\n\r\n") == b"a\r\nxxxxxxxxxx\r\n0\r\n\r\n"


async def test_a_caller_that_does_not_take_its_answer_is_cut_off(start: Start) -> None:
    running = await start(stalled_reader_seconds=SHORT)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
    writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not running.refused("stalled reader"):  # noqa: ASYNC110 - a metric has no event
            await asyncio.sleep(0)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(50_000_000)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_one_connection_too_many_is_503_and_a_place_that_is_left_is_free_again(start: Start) -> None:
    running = await start(connections=2)
    get = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    _, first = await exchange(running, get)
    await exchange(running, get)
    third = await running.connect()
    answer = await third.receive()
    assert (answer.status, answer.json["oops"], answer.headers["Retry-After"]) == (503, "Too many connections", "1")
    assert await third.closed()
    assert running.refused("full") == 1
    first.writer.close()
    await first.writer.wait_closed()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            answer, _ = await exchange(running, get)
            if answer.status == 404:
                break


async def test_pipelined_requests_are_answered_in_order(start: Start) -> None:
    requests = b"".join(POST + b"Content-Length: 3\r\n\r\n[%d]" % number for number in range(5))
    answer, wire = await exchange(await start(), requests)
    bodies = [answer.json] + [(await wire.receive()).json for _ in range(4)]
    assert bodies == [[0], [1], [2], [3], [4]]


@pytest.mark.parametrize("pieces", [(b"", b"POST /ec"), (b"{", b""), (b"", b"")], ids=["head", "body", "whole body"])
async def test_a_request_that_has_begun_to_come_as_the_server_closes_is_answered(
    start: Start, pieces: tuple[bytes, bytes]
) -> None:
    running = await start()
    begun_body, begun_head = pieces
    request = POST + b"Content-Length: 2\r\n\r\n{}"
    first = begun_head or request[: request.index(b"{}")] + begun_body
    wire = await running.connect()
    await wire.send(first)
    await exchange(running, b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n")  # what came before is taken in by now
    closing = asyncio.create_task(running.server.close())
    for _ in range(10):  # turns of the event loop: it is at it
        await asyncio.sleep(0)
    await wire.send(request.removeprefix(first))
    answer = await wire.receive()
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    async with asyncio.timeout(ARRIVAL_SECONDS):
        await closing


async def test_a_request_that_does_not_go_on_coming_keeps_no_server_from_closing(start: Start) -> None:
    running = await start()
    await (await running.connect()).send(b"POST /ec")
    await exchange(running, b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(2 * ARRIVAL_SECONDS):
        await running.server.close()


async def test_a_handler_that_does_not_finish_keeps_a_server_from_closing_no_longer_than_the_bound(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "SHUTDOWN_TIMEOUT_SECONDS", 2.0)
    monkeypatch.setattr(http_server, "ARRIVAL_SECONDS", 0.2)
    running = await start()
    wire = await running.connect()
    await wire.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    await exchange(running, b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(3.0):
        await running.server.close()
    assert running.cancelled.is_set()
    assert await wire.closed()
