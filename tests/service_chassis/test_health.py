"""The operations port."""

import asyncio
from typing import Any

import pytest
import structlog
from aiohttp.pytest_plugin import AiohttpClient
from aiohttp.test_utils import TestClient

from service_chassis.operations import health
from service_chassis.operations.health import Readiness, create_operations_app
from service_chassis.operations.metrics import Metrics


async def fine() -> None:
    return


async def broken() -> None:
    raise OSError("text that no caller sees")


async def endless() -> None:
    await asyncio.Event().wait()


async def start(aiohttp_client: AiohttpClient, readiness: Readiness) -> TestClient[Any, Any]:
    metrics = Metrics()
    metrics.observe_request("GET", "/thing", 200, 0.004)

    async def render_metrics() -> bytes:
        return metrics.render()

    return await aiohttp_client(create_operations_app(readiness.find_not_ready, render_metrics))


async def test_what_is_not_ready_is_named(aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_TIMEOUT_SECONDS", 0.05)
    readiness = Readiness()
    for name, check in {"fine": fine, "broken": broken, "endless": endless}.items():
        readiness.require(name, check)
    http = await start(aiohttp_client, readiness)
    async with http.get("/readyz") as response:
        assert response.status == 503
        assert await response.json() == {"status": "not ready", "notReady": ["broken", "endless"]}


async def test_a_metric_tells_which_condition_failed_when_it_was_last_asked() -> None:
    metrics = Metrics()
    readiness = Readiness(metrics.gauge("readiness_failing", "", ["check"]))
    readiness.require("once", fine, once=True)
    readiness.require("broken", broken)

    def failing() -> list[float | None]:
        names = ("once", "broken")
        return [metrics.registry.get_sample_value("readiness_failing", {"check": name}) for name in names]

    await readiness.find_not_ready()
    assert failing() == [0, 1]
    readiness.require("broken", fine)
    await readiness.find_not_ready()
    assert failing() == [0, 0]


async def test_a_process_that_stops_is_alive_and_not_ready(aiohttp_client: AiohttpClient) -> None:
    readiness = Readiness()
    readiness.require("fine", fine)
    http = await start(aiohttp_client, readiness)
    async with http.get("/readyz") as response:
        assert (response.status, await response.json()) == (200, {"status": "ready"})
    readiness.phase = "stopping"
    async with http.get("/readyz") as response:
        assert (response.status, (await response.json())["notReady"]) == (503, ["stopping"])
    async with http.get("/livez") as response:
        assert response.status == 200


async def test_metrics_are_in_the_exposition_format(aiohttp_client: AiohttpClient) -> None:
    http = await start(aiohttp_client, Readiness())
    async with http.get("/metrics") as response:
        assert response.content_type == "text/plain"
        text = await response.text()
    assert 'http_request_seconds_bucket{le="0.005",method="GET",route="/thing",status="200"} 1.0' in text
    assert "process_resident_memory_bytes" in text


async def test_what_keeps_a_process_from_being_ready_is_logged_once() -> None:
    readiness = Readiness()
    readiness.require("broken", broken)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            await readiness.find_not_ready()
        readiness.require("broken", fine)
        await readiness.find_not_ready()
    assert logs == [
        {"event": "not_ready", "check": "broken", "why": "OSError: text that no caller sees", "log_level": "warning"},
        {"event": "ready_again", "check": "broken", "log_level": "info"},
    ]


async def test_a_condition_that_holds_for_good_is_not_asked_for_again() -> None:
    """So that processes stay in rotation while the next version's migration is already in their database."""
    readiness = Readiness()
    outcomes = [broken, fine, broken]
    readiness.require("schema", lambda: outcomes.pop(0)(), once=True)
    assert [await readiness.find_not_ready() for _ in range(3)] == [["schema"], [], []]
    assert outcomes == [broken]
