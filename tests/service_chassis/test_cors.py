"""Pages of named origins may call a public API from a browser, and no others."""

from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web
from marshmallow import ValidationError
from pytest_aiohttp import AiohttpClient

from service_chassis.application import create_web_app
from service_chassis.errors import NotFound
from service_chassis.http.json_response import JsonResponse
from service_chassis.operations.health import render_operations_error
from service_chassis.process_settings import require_origins

PAGE = {"Origin": "https://app.example.com"}
OTHER = {"Origin": "https://app.example.com.evil.test"}


async def answer(_: web.Request) -> web.Response:
    return JsonResponse(b"{}")


async def refuse(_: web.Request) -> web.Response:
    raise NotFound("There is nothing")


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"[]")
    await response.write_eof()
    return response


async def call(
    aiohttp_client: AiohttpClient, origins: Sequence[str], method: str, path: str, headers: dict[str, str]
) -> Any:
    app = create_web_app(render_error=render_operations_error, body_limit_bytes=1024, cors_origins=origins)
    app.router.add_get("/thing", answer)
    app.router.add_post("/thing", answer)
    app.router.add_get("/nothing", refuse)
    app.router.add_get("/stream", stream)
    return await (await aiohttp_client(app)).request(method, path, headers=headers)


@pytest.mark.parametrize("path", ["/thing", "/nothing", "/stream", "/no/such/path"])
async def test_a_named_page_reads_every_response_and_another_none(aiohttp_client: AiohttpClient, path: str) -> None:
    allowed = await call(aiohttp_client, [PAGE["Origin"]], "GET", path, PAGE)
    assert allowed.headers["Access-Control-Allow-Origin"] == PAGE["Origin"]
    assert "Retry-After" in allowed.headers["Access-Control-Expose-Headers"]
    for headers in (OTHER, {}):
        refused = await call(aiohttp_client, [PAGE["Origin"]], "GET", path, headers)
        assert not [name for name in refused.headers if name.startswith("Access-Control")]
        # A cache must not hand one page's response to another.
        assert "Origin" in refused.headers["Vary"]
        assert refused.status == allowed.status


async def test_a_preflight_names_the_methods_of_the_path_and_reaches_no_handler(
    aiohttp_client: AiohttpClient,
) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = await call(aiohttp_client, [PAGE["Origin"]], "OPTIONS", "/thing", PAGE | asked)
    assert (allowed.status, allowed.headers["Access-Control-Allow-Methods"]) == (204, "GET, HEAD, POST")
    assert {"Authorization", "Idempotency-Key"} <= set(allowed.headers["Access-Control-Allow-Headers"].split(", "))
    assert allowed.headers["Access-Control-Allow-Origin"] == PAGE["Origin"]
    for origins, headers in (([PAGE["Origin"]], OTHER), ([], PAGE)):
        refused = await call(aiohttp_client, origins, "OPTIONS", "/thing", headers | asked)
        assert refused.status == 405
        assert not [name for name in refused.headers if name.startswith("Access-Control")]


async def test_a_star_is_every_page_and_never_with_a_browsers_own_credentials(aiohttp_client: AiohttpClient) -> None:
    allowed = await call(aiohttp_client, ["*"], "GET", "/thing", OTHER)
    assert allowed.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in allowed.headers


async def test_without_a_setting_nothing_is_said(aiohttp_client: AiohttpClient) -> None:
    silent = await call(aiohttp_client, [], "GET", "/thing", PAGE)
    assert not [name for name in silent.headers if name.startswith(("Access-Control", "Vary"))]


@pytest.mark.parametrize(
    "origin",
    ["app.example.com", "https://a.example/", "https://*.example.com", "null", "https://A.example", ""],
)
def test_what_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(ValidationError, match="scheme://host"):
        require_origins([origin])
    require_origins(["*", "https://app.example.com", "http://localhost:3000", "http://[::1]:8080"])
