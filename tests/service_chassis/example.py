"""A service as small as one can be, as a process."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

REPOSITORY = Path(__file__).parent.parent.parent

SERVICE = """
import asyncio, json, os, sys
from aiohttp import web
from service_chassis.application import METRICS, add_admin_app, create_web_app, run
from service_chassis.workers.run import run_workers
from service_chassis.http.bounds import HttpBounds
from service_chassis.operations.logging import configure_logging
from service_chassis.process_settings import AdminSettings

class Settings(AdminSettings):
    prefix = "EXAMPLE_"

configure_logging("info", "example")
settings = Settings(**json.loads(sys.argv[1]))
frame = dict(
    render_error=lambda error: web.Response(status=error.status), body_limit_bytes=10,
    bounds=HttpBounds(idle_seconds=settings.keep_alive_seconds),
)
app = create_web_app(**frame)
admin = create_web_app(**frame, metrics=app[METRICS])
go = asyncio.Event()

def say(event):
    # In one write, which lines of several processes do not get into.
    os.write(1, json.dumps({"event": event}).encode() + b"\\n")

async def quick(request):
    return web.Response(text="done")

async def name(request):
    return web.Response(text=str(os.getpid()))

async def slow(request):
    say("slow began")
    await go.wait()
    return web.Response(text="done")

async def release(app):
    yield
    say("cleaned up")

async def let_go(app):
    go.set()

for each in (app, admin):
    each.router.add_get("/quick", quick)
    each.router.add_get("/name", name)
    each.router.add_get("/slow", slow)
app.cleanup_ctx.append(release)
app.on_shutdown.append(let_go)
add_admin_app(app, admin)
if settings.workers > 1:
    run_workers(app, settings, settings.workers)
run(app, settings)
"""


class Example:
    """A process of the example service, and the events that it has logged so far."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, ops_port: int, admin_port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.ops_url = f"http://127.0.0.1:{ops_port}"
        self.admin_url = f"http://127.0.0.1:{admin_port}"
        self.lines: list[dict[str, Any]] = []

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]

    async def read_until(self, event: str) -> None:
        while not self.lines or self.lines[-1]["event"] != event:
            await self.read_next()

    async def read_next(self) -> None:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, self.lines
        self.lines.append(json.loads(line))


Start = Callable[..., contextlib.AbstractAsyncContextManager[Example]]


async def ask(url: str) -> tuple[int, str, str | None]:
    """Ask on a connection of its own; return status, body and the `Connection` header."""
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        return response.status, await response.text(), response.headers.get("Connection")
