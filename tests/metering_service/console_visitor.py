"""The console without a browser: pages asked for, and forms sent back as they came."""

import re
from html import unescape
from typing import Any

import aiohttp
from aiohttp import CookieJar

from metering_service.components import COMPONENTS
from metering_service.metrics import MeteringMetrics
from metering_service.refusals.by_client import RefusalsByClient
from metering_service.refusals.keep import KeepRefusals
from service_chassis.operations.metrics import Metrics
from tests.metering_service.conftest import ADMIN_KEY, Metering


class Visitor:
    """Somebody with cookies, at one address of a process's console."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.http = aiohttp.ClientSession(cookie_jar=CookieJar(unsafe=True))

    async def get(self, path: str, status: int = 200, **options: Any) -> str:
        async with self.http.get(self.origin + path, **options) as response:
            text = await response.text()
            assert response.status == status, (path, response.status, text)
            return text

    async def post(self, path: str, status: int = 200, /, **fields: str) -> str:
        async with self.http.post(self.origin + path, data=fields) as response:
            text = await response.text()
            assert response.status == status, (path, response.status, text)
            return text

    async def log_in(self, key: str = ADMIN_KEY) -> "Visitor":
        await self.post("/console/login", key=key)
        return self

    async def send(self, page: str, path: str, status: int = 200, /, **changes: str) -> str:
        """Send the last form of a page, with changes."""
        return await self.post(path, status, **{**read_fields(page), **changes})


def read_fields(page: str) -> dict[str, str]:
    """Return what a browser would send of the last form of a page that does something, but for its buttons."""
    form = page[page.rindex('<form class="') :]
    fields = {}
    for tag in re.findall(r"<input [^>]*>", form):
        attributes = dict(re.findall(r'([a-z-]+)="([^"]*)"', tag))
        if "name" in attributes:
            fields[attributes["name"]] = unescape(attributes.get("value", ""))
    for name, text in re.findall(r'<textarea [^>]*name="([^"]*)"[^>]*>([^<]*)<', form):
        fields[name] = unescape(text)
    for name, options in re.findall(r'<select [^>]*name="([^"]*)"[^>]*>(.*?)</select>', form):
        chosen = re.search(r"<option selected>([^<]*)<", options) or re.search(r"<option>([^<]*)<", options)
        fields[name] = unescape(chosen[1]) if chosen else ""
    return fields


def read_text(page: str) -> str:
    """Return what a page says, its tags left out and its space made narrow."""
    body = page[page.index("<body") :]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


async def charge(metering: Metering, *events: dict[str, Any]) -> None:
    assert {each["decision"] for each in await metering.authorize(*events)} == {"granted"}
    await metering.settle_by_ids(*events)


async def flush_refusals(metering: Metering) -> None:
    """Have the process write what it counted: it does so once a second by itself."""
    app = metering.clients[0].app
    assert app is not None
    log = app[COMPONENTS].authorizations._note_refusal.__self__  # type: ignore[attr-defined]
    by_client = RefusalsByClient(MeteringMetrics(Metrics()).refusals)
    await KeepRefusals(app[COMPONENTS].pool, by_client, log).run_once()
