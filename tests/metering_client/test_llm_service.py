"""The example of the guide, as a process that really dies: each completion is charged exactly once or not at all."""

import asyncio
import os
import runpy
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web

from local_stack.ports import choose_free_port
from local_stack.processes import REPOSITORY
from tests.faults.fail_points import arm
from tests.metering_client.conftest import EVENTS_KEY
from tests.metering_service.conftest import Metering

pytestmark = pytest.mark.system

DEADLINE_SECONDS = 60.0
POLL_SECONDS = 0.05
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


class LlmService:
    """The example in a process of its own, which can be killed at a point of the protocol and started again."""

    def __init__(self, directory: Path, dsn: str, metering_url: str, session: aiohttp.ClientSession) -> None:
        self.control = directory / "control"
        self.control.mkdir()
        self.dsn = dsn
        self._log = directory / "log"
        self._session = session
        port = choose_free_port()
        self._url = f"http://127.0.0.1:{port}"
        self._environment = {
            **os.environ,
            "LLM_POSTGRES_DSN": dsn,
            "LLM_PORT": str(port),
            "LLM_RESOLVE_AFTER_SECONDS": "1",
            "METERING_URL": metering_url,
            "METERING_KEY": EVENTS_KEY,
            "FAULTS_CONTROL": str(self.control),
        }
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        command = [sys.executable, "-m", "tests.faults.service_process", "llm"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - a moment
                command, cwd=REPOSITORY, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                assert self.process.poll() is None, self._log.read_text()
                try:
                    async with self._session.get(f"{self._url}/healthz"):
                        return
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(POLL_SECONDS)

    async def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)

    async def await_death(self) -> None:
        assert self.process is not None
        await asyncio.wait_for(asyncio.to_thread(self.process.wait), DEADLINE_SECONDS)

    async def complete(self, *, most: int = 10, key: str | None = None) -> tuple[int, Any]:
        """Return status and body; status 0 where the connection broke."""
        headers = {"X-Client-Id": "acme"} | ({"Idempotency-Key": key} if key else {})
        body = {"prompt": "one two three", "maxTokens": most}
        try:
            async with self._session.post(f"{self._url}/completions", json=body, headers=headers) as response:
                return response.status, await response.json()
        except aiohttp.ClientConnectionError:
            return 0, None

    async def post(self, body: Any, *, client_id: str = "acme") -> int:
        """Return the status of a request of any body."""
        headers = {"X-Client-Id": client_id}
        async with self._session.post(f"{self._url}/completions", json=body, headers=headers) as response:
            return response.status

    async def send_raw(self, header: bytes) -> bytes:
        """Return the first line of the response to a good request with a header of any bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self._environment["LLM_PORT"]))
        body = b'{"prompt": "one", "maxTokens": 10}'
        head = b"POST /completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
        writer.write(head + header + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        line = await reader.readline()
        writer.close()
        return line

    async def rows(self, table: str) -> int:
        connection = await asyncpg.connect(self.dsn)
        try:
            return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))
        finally:
            await connection.close()


@pytest.fixture
async def llm(tmp_path: Path, metering_url: str, empty_database: Callable[..., str]) -> AsyncIterator[LlmService]:
    async with aiohttp.ClientSession() as session:
        service = LlmService(tmp_path, empty_database(), metering_url, session)
        await service.start()
        yield service
        await service.stop()


async def test_a_key_is_its_clients_whatever_blanks_are_in_their_names(llm: LlmService, metering: Metering) -> None:
    await metering.give("acme ltd", grant=100, prices={"llm.tokens": 2})
    first = await llm.send_raw(b"X-Client-Id: acme ltd\r\nIdempotency-Key: 1")
    assert b" 200 " in first
    assert b" 200 " in await llm.send_raw(b"X-Client-Id: acme\r\nIdempotency-Key: ltd 1")
    assert await llm.rows("completion") == 2


async def await_balance(metering: Metering, *, spent: int) -> None:
    """Wait until so much is spent and nothing is held."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await metering.balance("acme") != (10_000, spent, 0, 10_000 - spent):  # noqa: ASYNC110 - another process
            await asyncio.sleep(POLL_SECONDS)


async def test_the_actual_number_is_charged_and_a_key_replays(llm: LlmService, metering: Metering) -> None:
    answers = [await llm.complete(key="k") for _ in range(3)]
    assert answers == [(200, {"tokens": 3, "answer": "ONE TWO THREE"})] * 3
    await await_balance(metering, spent=6)
    assert await llm.rows("completion") == 1


async def test_all_come_up_that_start_together_on_an_empty_database(
    metering_url: str, empty_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = empty_database()
    for name, value in (("LLM_POSTGRES_DSN", dsn), ("METERING_URL", metering_url), ("METERING_KEY", EVENTS_KEY)):
        monkeypatch.setenv(name, value)
    example = runpy.run_path(str(REPOSITORY / "docs" / "examples" / "llm_service.py"))
    runners = [web.AppRunner(example["create_app"]()) for _ in range(4)]
    door = await asyncpg.connect(dsn)
    try:
        async with door.transaction():  # nobody makes a table until all are about to
            await door.execute("LOCK TABLE pg_type IN SHARE MODE")
            starting = asyncio.gather(*[runner.setup() for runner in runners])
            async with asyncio.timeout(DEADLINE_SECONDS):
                while await door.fetchval(WAITING) < len(runners):  # noqa: ASYNC110 - sessions of the server
                    await asyncio.sleep(POLL_SECONDS)
        await starting
    finally:
        await door.close()
        await asyncio.gather(*[runner.cleanup() for runner in runners])


async def test_more_than_there_is_is_refused_with_its_code(llm: LlmService, metering: Metering) -> None:
    status, body = await llm.complete(most=5_001)
    assert (status, body["code"]) == (429, "api_balance_exhausted")
    assert await llm.rows("completion") == 0


async def test_a_request_that_is_none_is_answered_so_and_nothing_is_held(llm: LlmService, metering: Metering) -> None:
    good = {"prompt": "one", "maxTokens": 10}
    bodies: list[Any] = [
        *(None, [], "x", {}, {"prompt": "one"}, {**good, "prompt": 1}, {**good, "prompt": "a\x00b"}),
        {**good, "prompt": "\ud800"},
        *({**good, "maxTokens": most} for most in ("10", -1, 0, 1.5, True, None, 10**7)),
    ]
    for body in bodies:
        assert await llm.post(body) == 400, body
    for client_id in ("", ".", "c" * 256):
        assert await llm.post(good, client_id=client_id) == 400, client_id
    for header in (b"X-Client-Id: acme\r\nIdempotency-Key: k\xff", b"Idempotency-Key: k\r\nX-Client-Id: acme\xff"):
        assert b" 400 " in await llm.send_raw(header), header
    assert await metering.balance("acme") == (10_000, 0, 0, 10_000)


@pytest.mark.parametrize("point", ["after-authorize", "after-fact-writes"])
async def test_kill_9_between_authorize_and_commit_charges_nothing_and_a_retry_once(
    llm: LlmService, metering: Metering, point: str
) -> None:
    arm(llm.control, point, "kill")
    assert await llm.complete(key="k") == (0, None)
    await llm.await_death()
    assert await metering.balance("acme") == (10_000, 0, 20, 9_980)
    await llm.start()
    await await_balance(metering, spent=0)
    assert await llm.rows("completion") == 0
    assert (await llm.complete(key="k"))[0] == 200
    await await_balance(metering, spent=6)


@pytest.mark.parametrize("point", ["after-fact-commit", "before-settle-call", "after-settle-call"])
async def test_kill_9_after_commit_before_settle_charges_once(
    llm: LlmService, metering: Metering, point: str
) -> None:
    arm(llm.control, point, "kill")
    await llm.complete(key="k")
    await llm.await_death()
    await llm.start()
    await await_balance(metering, spent=6)
    assert (await llm.complete(key="k")) == (200, {"tokens": 3, "answer": "ONE TWO THREE"})
    assert len(await metering.spends("acme")) == await llm.rows("completion") == 1
