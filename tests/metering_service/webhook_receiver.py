"""A receiver of webhooks: a real HTTP server that keeps what it is sent and answers as it is told."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks import Webhook

from metering_service.settings import Receiver

SECRET = "whsec_" + base64.b64encode(b"a-secret-of-the-tests-is-32-byte").decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"an-old-secret-of-the-tests-is-so").decode()
LOOPBACK = ("127.0.0.0/8",)


@dataclass
class WebhookReceiver:
    """What came, and how the next are answered: `status`, and not before `is_open` is set."""

    url: str = ""
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    is_open: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        async with self.news:
            self.came.append((dict(request.headers), body))
            self.news.notify_all()
        await self.is_open.wait()
        return web.Response(status=self.status, headers=self.headers)

    async def wait_for(self, count: int) -> list[dict[str, Any]]:
        """Return the events that came, once there are so many."""
        async with asyncio.timeout(60), self.news:
            await self.news.wait_for(lambda: len(self.came) >= count)
        return self.events

    @property
    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(body) for _, body in self.came]

    def verify(self, number: int, secret: str = SECRET) -> None:
        """Raise WebhookVerificationError unless Standard Webhooks' own verifier accepts what came."""
        headers, body = self.came[number]
        Webhook(secret).verify(body, headers)

    def as_setting(self, name: str = "crm", *secrets: str) -> str:
        return " ".join((name, self.url, *(secrets or (SECRET,))))

    def as_receiver(self, name: str = "crm") -> Receiver:
        return Receiver(name, self.url, (SECRET,))


@asynccontextmanager
async def run_receiver() -> AsyncIterator[WebhookReceiver]:
    receiver = WebhookReceiver()
    receiver.is_open.set()
    app = web.Application()
    app.router.add_post("/hooks", receiver.take)
    server = TestServer(app)
    await server.start_server()
    receiver.url = str(server.make_url("/hooks"))
    try:
        yield receiver
    finally:
        receiver.is_open.set()
        await server.close()
