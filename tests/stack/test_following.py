"""One request is followed by its id, from its first log line to its charge, and as a trace: on real processes."""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.stack.api import Api
from tests.stack.collector import Collector, ReceivedSpan, run_collector
from tests.stack.two_of_each import second_activity, second_metering

pytestmark = [pytest.mark.stack, pytest.mark.system]
CLIENT = "demo-unlimited"
WAIT_SECONDS = 20.0
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER_SPAN = "b7ad6b7169203331"
SERVER, CALL = 2, 3
"""Kinds of spans, as OTLP numbers them."""


@dataclass
class Pair:
    """An activity process and the metering process that it calls, with logs of their own."""

    activity_url: str
    directory: Path

    def find(self, text: str) -> list[tuple[str, dict[str, Any]]]:
        """Return what `grep text` finds in both logs: the service, and the line."""
        return [
            (service, json.loads(line))
            for service in ("activity", "metering")
            for line in (self.directory / f"{service}-2.log").read_text().splitlines()
            if text in line
        ]

    async def create(self, token: str, **headers: str) -> None:
        url, body = f"{self.activity_url}/api/plan-plays", {"planId": "p"}
        headers["Authorization"] = f"Bearer {token}"
        async with aiohttp.ClientSession() as http, http.post(url, json=body, headers=headers) as response:
            assert response.status == 201, await response.text()


@pytest.fixture
def start_pair(stack: dict[str, Any], tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as running:

        def start() -> Pair:
            metering = running.enter_context(second_metering(stack, tmp_path))
            activity = running.enter_context(second_activity(stack, tmp_path, metering.url))
            return Pair(activity.url, tmp_path)

        yield start


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Run a collector, which processes that are started from now on send their traces to, soon."""
    with run_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield collector


async def follow(pair: Pair, request_id: str) -> list[tuple[Any, ...]]:
    """Return what the logs say of a request, once both sides speak of its charge."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        found = pair.find(request_id)
        told = sorted(
            (service, line["event"], line.get("route") or line.get("call"), line["status"]) for service, line in found
        )
        if {"metering settle", "/internal/events/settle"} <= {what for _, _, what, _ in told}:
            return told
        assert time.monotonic() < deadline, told
        await asyncio.sleep(0.05)


async def test_each_of_many_creates_is_followed_by_its_id_through_both_logs_to_its_charge(
    start_pair: Any, api: Api
) -> None:
    pair, token = start_pair(), await api.token(CLIENT)
    ids = [f"follow-me-{number:02}" for number in range(20)]
    await asyncio.gather(*(pair.create(token, **{"X-Request-ID": each}) for each in ids))
    for each in ids:
        assert await follow(pair, each) == [
            ("activity", "call", "metering authorize", 200),
            ("activity", "call", "metering settle", 200),
            ("activity", "request", "/api/plan-plays", 201),
            ("metering", "request", "/internal/events/authorize", 200),
            ("metering", "request", "/internal/events/settle", 200),
        ]
    lines = pair.find(ids[0])
    [access] = [line for service, line in lines if service == "activity" and line["event"] == "request"]
    assert access.keys() >= {"request_id", "client_id", "method", "route", "status", "ms"}
    assert access["client_id"] == CLIENT
    assert {line["caller"] for service, line in lines if service == "metering"} == {"activity"}


async def test_a_call_that_metering_refuses_is_in_the_log_with_its_status_and_its_request(
    stack: dict[str, Any], api: Api, tmp_path: Path
) -> None:
    token = await api.token(CLIENT)
    wrong = {**stack, "service_keys": {**stack["service_keys"], "events": "a-key-that-metering-does-not-know"}}
    with second_activity(wrong, tmp_path, stack["metering"]["url"]) as activity:
        headers = {"Authorization": f"Bearer {token}", "X-Request-ID": "refused-1"}
        url = f"{activity.url}/api/plan-plays"
        async with aiohttp.ClientSession() as http, http.post(url, json={"planId": "p"}, headers=headers) as response:
            assert response.status == 500
    # It has ended, so all its lines are there.
    (tmp_path / "metering-2.log").touch()
    lines = [line for _, line in Pair(activity.url, tmp_path).find("refused-1")]
    assert ("metering authorize", 401) in {(line.get("call"), line.get("status")) for line in lines}
    [failed] = [line for line in lines if line["event"] == "request_failed"]
    assert failed["at"].startswith("metering_client/client.py:")
    [access] = [line for line in lines if line["event"] == "request"]
    assert (access["status"], access["code"], access["client_id"]) == (500, "internal_error", CLIENT)


async def test_one_create_is_one_trace_and_its_charge_is_linked_to_it(
    collector: Collector, start_pair: Any, api: Api
) -> None:
    pair, token = start_pair(), await api.token(CLIENT)
    await pair.create(token, traceparent=f"00-{TRACE}-{CALLER_SPAN}-01", **{"X-Request-ID": "traced-1"})

    def wait_for(service: str, name: str) -> ReceivedSpan:
        for count in itertools.count(1):
            for each in collector.wait_for(service, name, count):
                if each.trace_id == TRACE or (TRACE, request.span_id) in each.links:
                    return each
        raise AssertionError

    [request] = await asyncio.to_thread(collector.wait_for, "activity_service", "POST /api/plan-plays")
    assert (request.trace_id, request.parent_id, request.kind) == (TRACE, CALLER_SPAN, SERVER)
    assert request.attributes["request_id"] == "traced-1"
    assert request.attributes["http.response.status_code"] == 201
    of_request = (TRACE, request.span_id)

    authorize = await asyncio.to_thread(wait_for, "activity_service", "metering authorize")
    assert (authorize.trace_id, authorize.parent_id, authorize.kind) == (*of_request, CALL)
    assert authorize.links == [of_request]
    decided = await asyncio.to_thread(wait_for, "metering_service", "POST /internal/events/authorize")
    assert (decided.trace_id, decided.parent_id, decided.kind) == (TRACE, authorize.span_id, SERVER)

    settle = await asyncio.to_thread(wait_for, "activity_service", "metering settle")
    assert (settle.parent_id, settle.links) == ("", [of_request])
    assert settle.trace_id != TRACE
    [charged] = await asyncio.to_thread(collector.wait_for, "metering_service", "POST /internal/events/settle")
    assert (charged.trace_id, charged.parent_id) == (settle.trace_id, settle.span_id)
    assert {line["trace_id"] for _, line in pair.find("traced-1") if line["event"] == "request"} >= {TRACE}


async def test_a_call_for_many_requests_is_linked_to_each_of_them(
    collector: Collector, start_pair: Any, api: Api
) -> None:
    pair, token = start_pair(), await api.token(CLIENT)
    await asyncio.gather(*(pair.create(token) for _ in range(20)))
    requests = await asyncio.to_thread(collector.wait_for, "activity_service", "POST /api/plan-plays", 20)
    assert len({each.trace_id for each in requests}) == 20
    for call in ("metering authorize", "metering settle"):
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            calls = collector.wait_for("activity_service", call)
            if len(links := [link for each in calls for link in each.links]) == 20:
                break
            assert time.monotonic() < deadline, links
            await asyncio.sleep(0.05)
        assert sorted(links) == sorted((each.trace_id, each.span_id) for each in requests)
