"""Waiting is counted: a server that stands still makes the requests of that time late."""

import asyncio

from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from bench.open_loop import Plan, Sender

RATE = 500.0
STILL_FOR = 200
"""Requests that come before the first is answered; by their schedule, the last one after 0.4 s."""


async def test_latency_counts_from_when_a_request_was_to_be_sent(aiohttp_server: AiohttpServer) -> None:
    gate, seen = asyncio.Event(), 0

    async def create(_: web.Request) -> web.Response:
        nonlocal seen
        seen += 1
        if seen == STILL_FOR:
            gate.set()
        await gate.wait()
        return web.json_response({}, status=201)

    app = web.Application()
    app.router.add_post("/api/plan-plays", create)
    server = await aiohttp_server(app)
    assert server.port is not None
    sender = Sender(Plan(server.port, RATE, 1, ["X-Client-Id: client-1"]))
    load = await sender.run()
    assert (load.requests, load.refused, load.broken, seen) == (500, 0, 0, 500)
    assert max(sender.latencies) >= (STILL_FOR - 1) / RATE
