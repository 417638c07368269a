"""A request's id and trace: taken or made, sent back, sent on, logged."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.pytest_plugin import AiohttpClient
from aiohttp.test_utils import TestClient

from service_chassis.errors import Forbidden
from service_chassis.http.error_rendering import error_middleware
from service_chassis.http.request_context import (
    Origin,
    context_middleware,
    find_origin,
    name_in_log,
    name_requests_in_log,
    onward_headers,
    send_request_id,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
observed: list[tuple[str, str, int]] = []
logs: list[Mapping[str, object]] = []


@pytest.fixture
async def http(aiohttp_client: AiohttpClient) -> TestClient[Any, Any]:
    observed.clear()
    logs.clear()

    async def show(request: web.Request) -> web.Response:
        name_in_log(client_id="client-a")
        name_requests_in_log(request)
        origin = find_origin()
        assert origin is not None
        return web.json_response(onward_headers([origin]))

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        return response

    async def fail(_: web.Request) -> web.Response:
        raise web.HTTPConflict

    async def refuse(_: web.Request) -> web.Response:
        raise Forbidden

    middleware = context_middleware(
        lambda method, route, status, _: observed.append((method, route, status)), logs.append
    )
    rendering = error_middleware(lambda error: web.Response(status=error.status))
    app = web.Application(middlewares=[middleware, rendering])
    app.on_response_prepare.append(send_request_id)
    app.router.add_get("/things/{id}", show)
    app.router.add_get("/stream", stream)
    app.router.add_get("/fail", fail)
    app.router.add_get("/refuse", refuse)
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


def test_outside_of_a_request_there_is_none_and_nothing_goes_on() -> None:
    assert find_origin() is None
    assert onward_headers([]) == {}


async def test_the_access_line_says_who_called_and_no_other_requests_line_does(http: TestClient[Any, Any]) -> None:
    await show(http, {})
    async with http.get("/stream"):
        pass
    assert [line.get("client_id") for line in logs] == ["client-a", None]


async def test_the_access_line_of_a_refusal_says_its_code(http: TestClient[Any, Any]) -> None:
    for path in ("/fail", "/refuse", "/stream"):
        async with http.get(path):
            pass
    assert [line.get("code") for line in logs] == ["http_error", "forbidden", None]


async def test_a_call_for_many_requests_names_each_of_them_in_the_log_of_both_sides(
    http: TestClient[Any, Any],
) -> None:
    headers = onward_headers([Origin("one"), Origin("two"), Origin("three")])
    assert headers == {"X-Request-ID": "one", "X-Request-IDs": "one,two,three"}
    await show(http, headers)
    assert [(line["request_id"], line["requests"]) for line in logs] == [("one", ["one", "two", "three"])]


async def test_a_list_of_ids_is_no_way_to_write_into_the_log(http: TestClient[Any, Any]) -> None:
    await show(http, {"X-Request-IDs": 'one,"}{,' + "x" * 129})
    assert logs[0]["requests"] == ["one"]


def test_a_call_for_very_many_requests_stays_within_what_a_header_may_be() -> None:
    headers = onward_headers([Origin(f"{number:032x}") for number in range(500)])
    ids = headers["X-Request-IDs"].split(",")
    assert len(headers["X-Request-IDs"]) < 8_000
    assert ids == [f"{number:032x}" for number in range(len(ids))]
    assert len(ids) > 200
