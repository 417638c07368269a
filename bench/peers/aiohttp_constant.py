"""Bare aiohttp on uvloop: `python -m bench.peers.aiohttp_constant PORT [FILE]`, as its documentation starts a server.

GET / answers "hello". POST /get-plans answers the bytes of FILE as gzipped JSON.
"""

import sys
from pathlib import Path

import uvloop
from aiohttp import web


def main() -> None:
    """Serve until SIGTERM."""
    port, *files = sys.argv[1:]
    body = Path(files[0]).read_bytes() if files else b""

    async def say_hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def answer_bytes(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, content_type="application/json", headers={"Content-Encoding": "gzip"})

    app = web.Application()
    app.router.add_get("/", say_hello)
    app.router.add_post("/get-plans", answer_bytes)
    web.run_app(app, host="127.0.0.1", port=int(port), access_log=None, print=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main()
