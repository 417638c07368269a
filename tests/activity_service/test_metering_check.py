"""Whether metering lets our key authorize is asked at the start and every minute, and told once."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp.pytest_plugin import AiohttpServer

from local_stack.ports import choose_free_port
from metering_client.key_check import MeteringCheck, ask_metering
from tests.activity_service.activity import Activity
from tests.activity_service.conftest import Run
from tests.activity_service.metering_double import KEY

SERIES = "activity_metering_accepts_key"


def told(logs: list[Any]) -> list[tuple[bool, str]]:
    assert {each["event"] for each in logs} == {"metering_check"}
    return [(each["accepts_our_key"], each["found"]) for each in logs]


async def test_a_key_that_may_not_authorize_is_a_log_line_and_a_metric(
    activity: Activity, aiohttp_server: AiohttpServer
) -> None:
    assert activity.metric(SERIES) == 1
    url = str((await aiohttp_server(activity.metering.create_app())).make_url("/"))
    async with aiohttp.ClientSession() as session:
        check = MeteringCheck(session, url, KEY, activity.components.billing.sweeper.metrics)
        with structlog.testing.capture_logs() as logs:
            for status in (403, 403, 403, 401):
                activity.metering.says["try_out"] = (status, b"")
                await check.run_once()
            assert activity.metric(SERIES) == 0
            del activity.metering.says["try_out"]
            await check.run_once()
    assert activity.metric(SERIES) == 1
    assert told(logs) == [
        (False, "does not let our key authorize events: its scope is not events (status 403)"),
        (False, "does not know our key (status 401)"),
        (True, "accepts our key (status 200)"),
    ]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://127.0.0.1:{port}/?marked=1", "nobody listens there (ConnectionRefusedError)"),
        ("http://user:marked@127.0.0.1:{port}", "the URL or the response cannot be used (ValueError)"),
        ("https://127.0.0.1:{plain}", "TLS fails: its certificate is not accepted, or it speaks none (SSLError)"),
        ("http://no.such.name.invalid:{port}", "its name is not found (gaierror)"),
        ("http://", "the URL cannot be called (InvalidUrlClientError)"),
    ],
)
async def test_a_metering_that_cannot_be_reached_is_told_with_address_and_cause_and_no_secret(
    activity: Activity, aiohttp_server: AiohttpServer, url: str, found: str
) -> None:
    plain = await aiohttp_server(activity.metering.create_app())
    address = url.format(port=choose_free_port(), plain=plain.port)
    async with aiohttp.ClientSession() as session:
        with structlog.testing.capture_logs() as logs:
            check = MeteringCheck(session, address, "marked-key", activity.components.billing.sweeper.metrics)
            for _ in range(2):
                await check.run_once()
    assert told(logs) == [(False, f"cannot be reached: {found}")]
    assert "marked" not in repr(logs)
    assert logs[0]["metering_url"] in (*address.replace("user:marked@", "").split("?"),)


async def test_it_is_asked_once_a_minute_and_each_time_while_the_key_is_not_accepted(
    activity: Activity, aiohttp_server: AiohttpServer
) -> None:
    url = str((await aiohttp_server(activity.metering.create_app())).make_url("/"))
    activity.metering.calls.clear()
    activity.metering.says["try_out"] = (401, b"")
    async with aiohttp.ClientSession() as session:
        check = MeteringCheck(session, url, KEY, activity.components.billing.sweeper.metrics)
        for _ in range(3):
            await check.run_once()
        del activity.metering.says["try_out"]
        for _ in range(3):
            await check.run_once()
    assert [call for call, _ in activity.metering.calls] == ["try_out"] * 4


async def test_the_status_command_asks_as_the_service_does(
    activity: Activity, activity_dsn: str, run: Run, monkeypatch: pytest.MonkeyPatch, aiohttp_server: AiohttpServer
) -> None:
    server = await aiohttp_server(activity.metering.create_app())
    monkeypatch.setenv("ACTIVITY_METERING_KEY", KEY)

    async def ask(url: str) -> str:
        monkeypatch.setenv("ACTIVITY_METERING_URL", url)
        code, output, _ = await asyncio.to_thread(run, activity_dsn, "billing", "status", "--json")
        assert code == 0
        return str(json.loads(output)["metering"])

    url = str(server.make_url("/"))
    assert await ask(url) == "accepts our key (status 200)"
    activity.metering.says["try_out"] = (403, b"")
    async with aiohttp.ClientSession() as session:
        assert await ask(url) == (await ask_metering(session, url, KEY)).words
    nowhere = f"http://127.0.0.1:{choose_free_port()}"
    assert await ask(nowhere) == "cannot be reached: nobody listens there (ConnectionRefusedError)"
