"""A service as a process: it stops without dropping what it has begun."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import aiohttp

from local_stack.ports import choose_free_port

REPOSITORY = Path(__file__).parent.parent.parent

SERVICE = """
import asyncio, sys
from aiohttp import web
from service_chassis.application import READINESS, create_web_app, run
from service_chassis.operations.logging import configure_logging
from service_chassis.settings import ProcessSettings

configure_logging("info", "example")
app = create_web_app(render_error=lambda error: web.Response(status=error.status), body_limit_bytes=10)
go = asyncio.Event()

async def slow(request):
    print('{"event": "slow began"}', flush=True)
    await go.wait()
    return web.Response(text="done")

async def release(app):
    yield
    print('{"event": "cleaned up"}', flush=True)

async def let_go(app):
    go.set()

app.router.add_get("/slow", slow)
app.cleanup_ctx.append(release)
app.on_shutdown.append(let_go)

class Settings(ProcessSettings):
    prefix = "EXAMPLE_"

run(app, Settings(postgres_dsn="", port=int(sys.argv[1]), ops_port=int(sys.argv[2])))
"""


async def test_a_stopping_process_finishes_what_is_under_way_and_exits_with_0() -> None:
    port, ops_port = choose_free_port(), choose_free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVICE, str(port), str(ops_port)), cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
    )
    events: list[str] = []

    async def read_until(event: str) -> None:
        assert process.stdout is not None
        while not events or events[-1] != event:
            line = await process.stdout.readline()
            assert line, events
            events.append(json.loads(line)["event"])

    async with asyncio.timeout(30), aiohttp.ClientSession() as http:
        await read_until("listening")
        async with http.get(f"http://127.0.0.1:{ops_port}/readyz") as response:
            assert response.status == 200
        slow = asyncio.create_task(http.get(f"http://127.0.0.1:{port}/slow"))
        await read_until("slow began")
        process.send_signal(signal.SIGTERM)
        async with await slow as response:
            assert (response.status, await response.text()) == (200, "done")
        await read_until("stopped")
        assert await process.wait() == 0
    assert events == ["listening", "slow began", "stopping", "request", "cleaned up", "stopped"]
