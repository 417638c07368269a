"""The real process: what it writes, and how it ends."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import asyncpg
import pytest

from catalog_service.clients.register import RegisterClients
from local_stack.ports import choose_free_port
from tests.catalog_service.catalog import PERSON, PLAN, UNAUTHORIZED


class Process:
    """A running `python -m catalog_service` and all that it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, ops_port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.ops_url = f"http://127.0.0.1:{ops_port}"
        self.lines: list[dict[str, Any]] = []

    async def read_until(self, event: str) -> None:
        """Read its log up to the line of `event`."""
        assert self.process.stdout is not None
        while not self.lines or self.lines[-1]["event"] != event:
            line = await self.process.stdout.readline()
            assert line, self.lines
            self.lines.append(json.loads(line))


@contextlib.asynccontextmanager
async def run(dsn: str, stdout: int, stderr: int) -> AsyncIterator[Process]:
    port, ops_port = choose_free_port(), choose_free_port()
    variables = {
        "CATALOG_POSTGRES_DSN": dsn,
        "CATALOG_PORT": str(port),
        "CATALOG_OPS_PORT": str(ops_port),
        "CATALOG_ADMIN_PORT": str(choose_free_port()),
        "CATALOG_LOG_LEVEL": "debug",
    }
    command = [sys.executable, "-m", "catalog_service"]
    child = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **variables}, stdout=stdout, stderr=stderr
    )
    try:
        yield Process(child, port, ops_port)
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


@pytest.fixture
async def process(catalog_dsn: str) -> AsyncIterator[Process]:
    async with run(catalog_dsn, asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT) as process:
        async with asyncio.timeout(30):
            await process.read_until("listening")
        yield process


async def test_a_day_in_a_process_leaves_nothing_private_in_its_log_and_ends_with_0(
    process: Process, pool: asyncpg.Pool
) -> None:
    _, issued = await RegisterClients(pool).register("acme", name="Acme", actor="ops")
    secret = issued.client_secret
    user = {"first_name": "Marked-1", "last_name": "Marked-2", "email": "marked@example.org"}
    credentials = {"client_id": "acme", "client_secret": secret, "fingerprint": "marked-3", "user": user}
    async with aiohttp.ClientSession(process.url) as http, http.get(process.ops_url + "/readyz") as ready:
        assert await ready.json() == {"status": "ready"}
        async with http.post("/generate-client-auth-token", json=credentials) as response:
            token = (await response.json())["data"]["access_token"]
        bearer = {"Authorization": f"Bearer {token}", "X-Request-ID": "request-7"}
        async with http.post("/sync-plan", json={**PLAN, "plan_name": "Marked-4"}, headers=bearer) as response:
            assert response.headers["X-Request-ID"] == "request-7"
        async with http.post("/sync-plan", json={"plan_name": "Marked-5", "color": 1}, headers=bearer) as response:
            assert response.status == 400
        wrong = {**credentials, "client_secret": "Marked-6", "user": {**PERSON, "email": "marked"}}
        async with http.post("/generate-client-auth-token", json=wrong) as response:
            assert response.status == 400
        async with http.post("/get-plans", headers={"Authorization": "Bearer Marked-7"}) as response:
            assert await response.json() == UNAUTHORIZED
        # Refused as it is, not unpacked; the connection stays good.
        for _ in range(2):
            async with http.post(
                "/get-plans", data=b"{}", headers={**bearer, "Content-Encoding": "gzip"}
            ) as response:
                assert response.status == 415
        await pool.execute("ALTER TABLE plan RENAME TO plan_away")
        async with http.post("/get-plans", headers=bearer) as response:
            assert response.status == 500
    process.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        await process.read_until("stopped")
        assert await process.process.wait() == 0
    written = json.dumps(process.lines)
    assert {line["service"] for line in process.lines} == {"catalog_service"}
    assert [line["request_id"] for line in process.lines if line.get("status") == 200][-1] == "request-7"
    [fault] = [line for line in process.lines if line["level"] == "error"]
    assert fault["fault"] == "UndefinedTableError"
    assert fault["at"].startswith("catalog_service/plans/store.py")
    for private in ("arked", secret, token, token.split(".")[1]):
        assert private not in written


def open_full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def open_pipe_that_nobody_reads() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("open_log", [open_full_disk, open_pipe_that_nobody_reads])
async def test_a_log_that_cannot_be_written_keeps_nobody_from_being_served(
    open_log: Callable[[], int], catalog_dsn: str, pool: asyncpg.Pool
) -> None:
    log = open_log()
    async with (
        asyncio.timeout(30),
        run(catalog_dsn, log, asyncio.subprocess.PIPE) as process,
        aiohttp.ClientSession() as http,
    ):
        os.close(log)
        await until_ready(http, process)

        async def ask(method: str, path: str, body: object = None) -> int:
            async with http.request(method, process.url + path, json=body) as response:
                return response.status

        assert {await ask("GET", "/nothing") for _ in range(50)} == {404}
        await pool.execute("ALTER TABLE client RENAME TO client_away")
        credentials = {"client_id": "acme", "client_secret": "secret", "fingerprint": "f"}
        assert {await ask("POST", "/generate-client-auth-token", credentials) for _ in range(50)} == {500}
        process.process.send_signal(signal.SIGTERM)
        _, said = await process.process.communicate()
        assert said == b""
        assert process.process.returncode == 0


async def until_ready(http: aiohttp.ClientSession, process: Process) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientConnectorError):
            async with http.get(process.ops_url + "/readyz") as response:
                if response.status == 200:
                    return
        assert process.process.returncode is None
        await asyncio.sleep(0.05)
