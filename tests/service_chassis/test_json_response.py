"""Answers that are written in one piece are what aiohttp would have sent."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from service_chassis.application import create_server, create_web_app
from service_chassis.http.json_response import JsonResponse

LARGE = b'"' + b"x" * 3_000_000 + b'"'


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def small(request: web.Request) -> web.Response:
        return JsonResponse(b'{"a":1}', 201, headers={"X-More": "yes"})

    async def large(_: web.Request) -> web.Response:
        return JsonResponse(LARGE)

    async def split(_: web.Request) -> web.Response:
        return JsonResponse(b"{}", headers={"X-More": "a\r\nX-Evil: b"})

    app = create_web_app(render_error=lambda error: JsonResponse(b"{}", error.status), body_limit_bytes=10)
    app.router.add_get("/small", small)
    app.router.add_get("/large", large)
    app.router.add_get("/split", split)
    server = create_server(app)
    await server.setup()
    yield await server.listen("127.0.0.1", 0)
    await server.close()


async def exchange(port: int, request: bytes) -> bytes:
    """Send bytes, and answer all that comes until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(10):
        received = await reader.read(-1)
    writer.close()
    return received


def read_head(answer: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    head, body = answer.split(b"\r\n\r\n", 1)
    status, *lines = head.split(b"\r\n")
    return status, dict(line.split(b": ", 1) for line in lines), body


async def test_the_head_says_what_every_answer_says_and_what_this_one_does(port: int) -> None:
    request = b"GET /small HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\nConnection: close\r\n\r\n"
    status, headers, body = read_head(await exchange(port, request))
    assert (status, body) == (b"HTTP/1.1 201 Created", b'{"a":1}')
    assert headers.pop(b"Date").endswith(b" GMT")
    assert headers == {
        b"Content-Type": b"application/json",
        b"Content-Length": b"7",
        b"Server": b"http",
        b"X-Request-ID": b"mine",
        b"X-More": b"yes",
        b"Connection": b"close",
    }


async def test_a_head_request_gets_the_head_alone(port: int) -> None:
    request = b"HEAD /small HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    status, headers, body = read_head(await exchange(port, request))
    assert (status, headers[b"Content-Length"], body) == (b"HTTP/1.1 201 Created", b"7", b"")


async def test_an_old_caller_is_told_whether_the_connection_stays(port: int) -> None:
    once = await exchange(port, b"GET /small HTTP/1.0\r\n\r\n")
    assert once.startswith(b"HTTP/1.0 201 ")
    kept = b"GET /small HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    both = await exchange(port, kept + b"GET /small HTTP/1.0\r\n\r\n")
    assert both.count(b"HTTP/1.0 201 ") == 2
    assert both.count(b"Connection: keep-alive") == 1


async def test_requests_sent_at_once_are_answered_in_turn_whatever_their_size(port: int) -> None:
    one = b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n"
    last = b"GET /small HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    received = await exchange(port, one + one + last)
    assert received.count(LARGE) == 2
    assert received.endswith(b'{"a":1}')


async def test_a_value_with_a_line_break_is_never_sent(port: int) -> None:
    received = await exchange(port, b"GET /split HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert received == b""


def test_it_is_read_like_any_answer() -> None:
    answer = JsonResponse(b"[]", headers={"X-More": "yes"})
    assert (answer.status, answer.body, answer.content_type) == (200, b"[]", "application/json")
    assert answer.headers["X-More"] == "yes"
