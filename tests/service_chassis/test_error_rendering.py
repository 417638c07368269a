"""Errors become answers once, and tell neither the caller nor the log what was in the data."""

import errno
import socket
from typing import Any

import pytest
import structlog
from aiohttp import web
from aiohttp.pytest_plugin import AiohttpClient
from aiohttp.test_utils import TestClient
from structlog.testing import capture_logs

from service_chassis.database.pool import open_pool
from service_chassis.errors import HttpFault, InvalidRequest, NotFound, ServiceError
from service_chassis.http.error_rendering import error_middleware
from service_chassis.operations import logging as operations_logging
from service_chassis.operations.logging import log_fault

RAISED: dict[str, Any] = {
    "refused": lambda: NotFound("No such thing", headers={"X-Hint": "1"}),
    "invalid": lambda: InvalidRequest.field("name", "Missing."),
    "away": lambda: ServiceError("marked@example.org"),
    "fault": lambda: KeyError("marked@example.org"),
    "large": lambda: web.HTTPRequestEntityTooLarge(1, 2),
    "gone": lambda: web.HTTPGone(text="marked"),
    "redirect": lambda: web.HTTPFound("/elsewhere"),
}


def render(error: ServiceError) -> web.Response:
    details = [[detail.field, detail.message] for detail in error.details]
    return web.json_response([error.code, error.message, details], status=error.status)


@pytest.fixture
async def http(aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch) -> TestClient[Any, Any]:
    monkeypatch.setattr(operations_logging, "_log", structlog.get_logger())

    async def fail(request: web.Request) -> web.Response:
        try:
            raise ValueError("marked@example.org")
        except ValueError as error:
            raise RAISED[request.match_info["kind"]]() from error

    app = web.Application(middlewares=[error_middleware(render)])
    app.router.add_get("/{kind}", fail)
    return await aiohttp_client(app)


@pytest.mark.parametrize(
    ("kind", "status", "answer"),
    [
        ("refused", 404, ["not_found", "No such thing", []]),
        ("invalid", 400, ["invalid_request", "Invalid request", [["name", "Missing."]]]),
        ("fault", 500, ["internal_error", "Internal server error", []]),
        ("large", 413, ["payload_too_large", "Request body too large", []]),
        ("gone", 410, ["http_error", "Gone", []]),
    ],
)
async def test_an_error_is_its_status_and_sentence(
    http: TestClient[Any, Any], kind: str, status: int, answer: list[Any]
) -> None:
    async with http.get(f"/{kind}") as response:
        assert (response.status, await response.json()) == (status, answer)


async def test_a_fault_is_logged_by_its_kinds_and_place_without_its_text(http: TestClient[Any, Any]) -> None:
    with capture_logs() as logs:
        for kind in ("fault", "away"):
            async with http.get(f"/{kind}") as response:
                assert response.status == 500
    assert [line["fault"] for line in logs] == ["KeyError < ValueError", "ServiceError < ValueError"]
    assert all(line["at"].startswith("tests/service_chassis/test_error_rendering.py:") for line in logs)
    assert "marked" not in str(logs)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (OSError(errno.EMFILE, "marked"), "OSError EMFILE"),
        (OSError(errno.ENOSPC, "marked"), "OSError ENOSPC"),
        (OSError("marked"), "OSError"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "marked"), "ConnectionRefusedError"),
        (socket.gaierror(socket.EAI_NONAME, "marked"), "gaierror"),
    ],
)
def test_a_fault_of_the_system_that_has_no_class_of_its_own_is_named_by_its_number(
    monkeypatch: pytest.MonkeyPatch, fault: OSError, told: str
) -> None:
    monkeypatch.setattr(operations_logging, "_log", structlog.get_logger())
    with capture_logs() as logs:
        log_fault("request_failed", fault)
    assert [line["fault"] for line in logs] == [told]


async def test_a_fault_is_placed_in_the_lines_that_led_to_it_and_not_in_plumbing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operations_logging, "_log", structlog.get_logger())

    async def ask_the_store() -> None:
        nowhere = "postgresql://nobody@127.0.0.1:1/none"
        async with open_pool(nowhere, size=1, application_name="test") as pool, pool.acquire():
            pass

    async def use_case() -> None:
        await ask_the_store()

    with capture_logs() as logs:
        try:
            await use_case()
        except OSError as error:
            log_fault("request_failed", error)
    [line] = logs
    assert [place.split()[1] for place in line["at"].split(" < ")] == [
        "ask_the_store",
        "use_case",
        "test_a_fault_is_placed_in_the_lines_that_led_to_it_and_not_in_plumbing",
    ]
    assert "pool.py" not in line["at"]


async def test_headers_of_an_error_are_sent_and_a_redirect_is_none(http: TestClient[Any, Any]) -> None:
    async with http.get("/refused") as response:
        assert response.headers["X-Hint"] == "1"
    async with http.get("/redirect", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/elsewhere")


async def test_wrong_path_and_method_are_rendered_with_what_is_allowed(http: TestClient[Any, Any]) -> None:
    async with http.post("/refused") as response:
        assert response.headers["Allow"] == "GET,HEAD"
        assert await response.json() == ["http_error", "Method Not Allowed", []]
    async with http.get("/a/b") as response:
        assert await response.json() == ["http_error", "Not Found", []]


def test_a_fault_outside_our_code_is_logged_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations_logging, "_log", structlog.get_logger())
    with capture_logs() as logs:
        log_fault("something_failed", HttpFault(500, "x"), more=1)
    assert logs == [
        {"event": "something_failed", "log_level": "error", "fault": "HttpFault", "at": "outside", "more": 1}
    ]
