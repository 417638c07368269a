"""The console in the browser of this machine: every page opened, every form used, by people of all kinds.

With CONSOLE_PICTURES=docs/images the pictures of the documents are taken anew.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

from tests.metering_service.conftest import ADMIN_KEY, Metering, event
from tests.metering_service.console_browser import NARROW, Visit, listen, open_browser, visit
from tests.metering_service.console_visitor import flush_refusals
from tests.metering_service.movable_clock import MovableClock
from tests.metering_service.small_business import make_business

pytestmark = pytest.mark.system

POOR = "corvid-tutoring"
CLIENT = f"/console/clients/{POOR}"
ADDRESSES = (
    "/console/clients",
    "/console/clients?sort=ending",
    "/console/clients?q=nobody",
    "/console/clients/dataworks-labs",
    "/console/clients/everest-academy",
    CLIENT,
    f"{CLIENT}/grant",
    "/console/decisions",
    "/console/decisions?event=nothing",
    "/console/policies",
    "/console/policies/of/scale",
    "/console/policies/of/scale/edit",
    "/console/policies/new",
    "/console/health",
)
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as browser:
        yield browser


@pytest.fixture
async def business(metering: Metering, clock: MovableClock) -> Metering:
    """Some clients after three days; corvid-tutoring lost its last credits and was refused."""
    await make_business(metering, clock, 3)
    adjustment = {"adjustmentId": "all", "reason": "for the test", "credits": -(await metering.balance(POOR))[3]}
    await metering.admin("POST", f"/internal/clients/{POOR}/adjustments", adjustment)
    await metering.authorize(event(POOR, userId="user-1"))
    await flush_refusals(metering)
    return metering


async def find_faults(page: Page) -> list[str]:
    """Return what axe finds wrong with a page."""
    results = await Axe().run(page, options=RULES)
    return [
        f"{page.url}: {each['id']} at {node['target']}: {node['failureSummary']}"
        for each in results.response["violations"]
        for node in each["nodes"]
    ]


async def list_addresses(visitor: Visit) -> list[str]:
    """Return every page there is, with a charge's and a refusal's receipt."""
    await visitor.open(CLIENT)
    links = [await each.get_attribute("href") or "" for each in await visitor.page.get_by_role("link").all()]
    [refusal, charge] = [next(each for each in links if part in each) for part in ("/refusals/", "/events/")]
    return [*ADDRESSES, refusal, charge, f"{charge}/refund"]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
async def test_every_page_is_accessible_and_fits(
    business: Metering, browser: Browser, scheme: str, width: int
) -> None:
    size = {"width": width, "height": 800}
    async with visit(browser, await listen(business), viewport=size, color_scheme=scheme) as visitor:
        await visitor.open("/console/login")
        faults = await find_faults(visitor.page)
        await visitor.log_in()
        for address in await list_addresses(visitor):
            await visitor.open(address)
            await visitor.page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
            faults += await find_faults(visitor.page)
            reach = await visitor.page.evaluate("document.documentElement.scrollWidth")
            faults += [f"{address}: {reach} wide"] * (reach > width)
    assert faults == []


async def test_every_form_is_used_and_says_what_it_did(business: Metering, browser: Browser) -> None:
    async with visit(browser, await listen(business)) as visitor:
        page = visitor.page
        await visitor.log_in()
        await page.get_by_label("Part of the id").fill("corvid")
        await page.get_by_label("Sorted by").select_option("Refusals")
        await page.get_by_role("button", name="Show").click()
        await page.get_by_role("link", name="corvid-tutoring").click()

        await page.get_by_role("link", name="Grant credits").first.click()
        await page.get_by_label("Credits").fill("2,500")
        await page.get_by_label("Reason").fill("Paid by bank transfer")
        await page.get_by_role("button", name="Go on").click()
        await page.get_by_role("button", name="Change").click()
        await page.get_by_label("Expires at the beginning of").fill("2026-12-31")
        await page.get_by_role("button", name="Go on").click()
        assert await find_faults(page) == []
        await page.get_by_role("button", name="Grant 2,500 credits").click()
        assert "Granted 2,500 credits to corvid-tutoring" in await page.get_by_role("status").inner_text()

        await page.get_by_role("row", name="charged").first.get_by_role("link", name="Receipt").click()
        event_id = await page.get_by_role("heading", level=1).inner_text()
        await page.get_by_role("link", name="Decisions").click()
        await page.get_by_label("Event id").fill(event_id)
        await page.get_by_role("button", name="Find").click()
        await page.get_by_role("link", name="Refund this charge").click()
        await page.get_by_label("Reason").fill("The play never started")
        await page.get_by_role("button", name="Go on").click()
        assert await find_faults(page) == []
        await page.get_by_role("button", name="Refund").click()
        assert "credits to corvid-tutoring as console-" in await page.get_by_role("status").inner_text()

        await page.get_by_role("link", name="Policies").click()
        await page.get_by_role("link", name="starter").click()
        await page.get_by_role("link", name="Edit").click()
        await page.get_by_label("Credits of price 2").fill("4")
        await page.get_by_label("Name of quota 2").fill("daily plays")
        await page.get_by_label("Limit of quota 2").fill("20")
        await page.get_by_label("Period of quota 2").select_option("day")
        await page.get_by_role("button", name="Preview").click()
        assert "Rates are not replayed" in await page.inner_text("main")
        assert await find_faults(page) == []
        await page.get_by_role("button", name="Change the draft").click()
        assert await page.get_by_label("Limit of quota 2").input_value() == "20"
        await page.get_by_role("button", name="Preview").click()
        await page.get_by_role("button", name="Put it in force").click()
        assert "Version 2 of starter is in force now" in await page.get_by_role("status").inner_text()
        await page.get_by_role("link", name="Health").click()
        assert "put policy" in await page.inner_text("main")
        await page.get_by_role("button", name="Log out").click()
        await page.get_by_role("heading", name="Log in").wait_for()
    acts = await business.fetch("SELECT actor, action FROM admin_audit ORDER BY audit_id DESC LIMIT 3")
    assert [tuple(act) for act in acts] == [("ops", "put_policy"), ("ops", "refund"), ("ops", "grant")]


async def test_a_grant_is_given_by_keyboard_alone_and_the_focus_is_always_seen(
    business: Metering, browser: Browser
) -> None:
    async with visit(browser, await listen(business)) as visitor:
        page = visitor.page
        keys = page.keyboard
        await visitor.open("/console/login")
        await keys.type(ADMIN_KEY)  # the field has the focus
        await keys.press("Enter")
        await page.get_by_role("heading", name="Clients").wait_for()
        await keys.press("Tab")
        assert await _focused(page) == "Skip to the content"
        await keys.press("Enter")
        await _tab_to(page, "harbor-prep")
        await keys.press("Enter")
        await page.get_by_role("heading", name="harbor-prep").wait_for()
        await _tab_to(page, "Grant credits")
        await keys.press("Enter")
        await page.get_by_label("Credits").wait_for()
        await _tab_to(page, "credits")
        await keys.type("100")
        await _tab_to(page, "note")
        await keys.type("By keyboard")
        await _tab_to(page, "Go on")
        await keys.press("Enter")
        await page.get_by_role("heading", name="Grant 100 credits?").wait_for()
        await _tab_to(page, "Grant 100 credits")
        await keys.press("Enter")
        await page.get_by_role("status").wait_for()
        assert "Granted 100 credits to harbor-prep" in await page.inner_text("main")


_FOCUSED = """() => {
    const at = document.activeElement, style = getComputedStyle(at);
    if (at !== document.body && at.id !== 'content' && style.outlineStyle === 'none') throw new Error(at.outerHTML);
    return at.id || at.innerText || at.tagName;
}"""


async def _focused(page: Page) -> str:
    return str(await page.evaluate(_FOCUSED)).strip()


async def _tab_to(page: Page, name: str) -> None:
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await _focused(page) == name:
            return
    raise AssertionError(f"{name} is not reached by Tab")


async def test_no_page_needs_a_script_to_be_read_or_used(business: Metering, browser: Browser) -> None:
    async with visit(browser, await listen(business), java_script_enabled=False, viewport=NARROW) as visitor:
        await visitor.log_in()
        for address in await list_addresses(visitor):
            await visitor.open(address)
            assert await visitor.page.get_by_role("heading", level=1).inner_text()
            assert await visitor.page.locator("script").count() == 0
        await visitor.open("/console/clients/dataworks-labs")
        await visitor.page.locator("summary").first.click()
        await visitor.page.get_by_role("columnheader", name="llm.tokens").wait_for()


async def test_a_link_logs_in_by_one_click(business: Metering, browser: Browser) -> None:
    origin = await listen(business)
    async with visit(browser, origin) as visitor:
        answer = await visitor.page.request.post(
            f"{origin}/console/login-links", headers={"Authorization": f"Bearer {ADMIN_KEY}"}
        )
        await visitor.page.goto(origin + (await answer.json())["path"])
        await visitor.page.get_by_role("heading", name="Clients").wait_for()


@pytest.mark.skipif(
    "CONSOLE_PICTURES" not in os.environ, reason="takes the pictures of the documents: CONSOLE_PICTURES"
)
async def test_pictures_are_taken(metering: Metering, browser: Browser, clock: MovableClock) -> None:
    await make_business(metering, clock, 30)
    directory = Path(os.environ["CONSOLE_PICTURES"])
    async with visit(browser, await listen(metering), viewport={"width": 1120, "height": 760}) as visitor:
        page = visitor.page
        await visitor.log_in()
        await page.screenshot(path=directory / "console-clients.png")
        await visitor.open("/console/clients/acme-learning")
        await page.screenshot(path=directory / "console-client.png")
        await visitor.open("/console/policies/of/starter/edit")
        await page.get_by_label("Credits of price 2").fill("4")
        await page.get_by_label("Limit of quota 1").fill("1,200")
        await page.get_by_role("button", name="Preview").click()
        await page.get_by_role("heading", name="Put this version in force?").wait_for()
        await page.set_viewport_size({"width": 1120, "height": 1000})
        await page.screenshot(path=directory / "console-preview.png")
