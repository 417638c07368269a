"""A request's id and trace: taken or made, sent back, sent on, logged."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.pytest_plugin import AiohttpClient
from aiohttp.test_utils import TestClient

from service_chassis.http.error_rendering import error_middleware
from service_chassis.http.request_context import context_middleware, onward_headers, send_request_id

TRACE = "0af7651916cd43dd8448eb211c80319c"
observed: list[tuple[str, str, int]] = []
logs: list[Mapping[str, object]] = []


@pytest.fixture
async def http(aiohttp_client: AiohttpClient) -> TestClient[Any, Any]:
    observed.clear()
    logs.clear()

    async def show(_: web.Request) -> web.Response:
        return web.json_response(onward_headers())

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        return response

    async def fail(_: web.Request) -> web.Response:
        raise web.HTTPConflict

    middleware = context_middleware(
        lambda method, route, status, _: observed.append((method, route, status)), logs.append
    )
    rendering = error_middleware(lambda error: web.Response(status=error.status))
    app = web.Application(middlewares=[middleware, rendering])
    app.on_response_prepare.append(send_request_id)
    app.router.add_get("/things/{id}", show)
    app.router.add_get("/stream", stream)
    app.router.add_get("/fail", fail)
    return await aiohttp_client(app)


async def show(http: TestClient[Any, Any], headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    async with http.get("/things/7", headers=headers) as response:
        return response.headers["X-Request-ID"], await response.json()


async def test_a_given_request_id_comes_back_and_goes_on(http: TestClient[Any, Any]) -> None:
    assert await show(http, {"X-Request-ID": "mine-1"}) == ("mine-1", {"X-Request-ID": "mine-1"})


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, 'a"b', "é"])
async def test_without_a_usable_request_id_one_is_made(http: TestClient[Any, Any], given: str | None) -> None:
    made, onward = await show(http, {} if given is None else {"X-Request-ID": given})
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert onward == {"X-Request-ID": made}


async def test_a_trace_goes_on_under_a_parent_of_ours(http: TestClient[Any, Any]) -> None:
    _, onward = await show(http, {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"})
    assert re.fullmatch(f"00-{TRACE}-(?!b7ad6b7169203331)[0-9a-f]{{16}}-01", onward["traceparent"])
    assert [line["trace_id"] for line in logs] == [TRACE]


@pytest.mark.parametrize(
    "given", ["", "garbage", f"00-{'0' * 32}-b7ad6b7169203331-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-1-01"]
)
async def test_a_trace_that_is_none_is_dropped(http: TestClient[Any, Any], given: str) -> None:
    assert "traceparent" not in (await show(http, {"traceparent": given}))[1]


async def test_streams_and_errors_have_the_request_id_too(http: TestClient[Any, Any]) -> None:
    for path in ("/stream", "/fail", "/nothing"):
        async with http.get(path, headers={"X-Request-ID": "mine-2"}) as response:
            assert response.headers["X-Request-ID"] == "mine-2"


async def test_the_route_is_logged_and_measured_not_the_path(http: TestClient[Any, Any]) -> None:
    for path in ("/things/marked@example.org?token=marked", "/marked", "/stream"):
        async with http.get(path, headers={"X-Request-ID": "mine-3"}):
            pass
    assert observed == [("GET", "/things/{id}", 200), ("ANY", "unmatched", 404), ("GET", "/stream", 200)]
    assert {line["request_id"] for line in logs} == {"mine-3"}
    assert [line["route"] for line in logs] == ["/things/{id}", "unmatched", "/stream"]
    assert "marked" not in str(logs)


def test_outside_of_a_request_nothing_goes_on() -> None:
    assert onward_headers() == {}
