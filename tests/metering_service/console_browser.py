"""A console on a real port, and a real browser before it."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Request, async_playwright

from service_chassis.application import ADMIN_SERVER
from tests.metering_service.conftest import ADMIN_KEY, Metering

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NO_CHROMIUM = "no Chromium on this machine (apt-get install chromium): the console was not looked at in a browser"
ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
NARROW = {"width": 360, "height": 740}
WIDE = {"width": 1280, "height": 860}


async def listen(metering: Metering, process: int = 0) -> str:
    """Have a metering process take connections on its admin listener, and return the origin."""
    app = metering.clients[process].app
    assert app is not None
    port = await app[ADMIN_SERVER].listen("127.0.0.1", 0)
    return f"http://127.0.0.1:{port}"


@dataclass
class Visit:
    """A person at the console. `faults` are what the browser complained of, and requests to somewhere else."""

    page: Page
    origin: str
    faults: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("console", lambda message: self.faults.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._note_request)

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.origin}/", "data:")):
            self.faults.append(f"asked {request.url}")

    async def open(self, path: str) -> None:
        response = await self.page.goto(self.origin + path)
        assert response is not None
        assert response.status == 200, (path, response.status)

    async def log_in(self) -> None:
        await self.open("/console/login")
        await self.page.get_by_label("Admin key").fill(ADMIN_KEY)
        await self.page.get_by_role("button", name="Log in").click()
        await self.page.get_by_role("heading", name="Clients").wait_for()


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Start the browser of this machine, or skip the test."""
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        await browser.close()


@asynccontextmanager
async def visit(browser: Browser, origin: str, **options: Any) -> AsyncIterator[Visit]:
    """Open a window of a size, a colour scheme, with or without scripts; end with no complaint of the browser."""
    context: BrowserContext = await browser.new_context(**{"viewport": WIDE, **options})
    visitor = Visit(await context.new_page(), origin)
    visitor.watch()
    yield visitor
    await context.close()
    assert visitor.faults == []
