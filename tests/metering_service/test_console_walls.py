"""Who gets into the console, and what keeps the others out: over all of its routes."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from metering_service.components import COMPONENTS
from metering_service.console.app import ROUTES
from metering_service.console.pages import OPEN_TO_ALL
from tests.metering_service.conftest import ADMIN_KEY, EVENTS_KEY, Metering, StartMetering
from tests.metering_service.console_browser import listen
from tests.metering_service.console_visitor import Visitor
from tests.metering_service.movable_clock import MovableClock

GUARDED = [
    (str(route.method), "/console" + re.sub(r"\{.*?\}", "x", route.path))
    for route in ROUTES
    if "/console" + route.path not in OPEN_TO_ALL
]
Visit = Callable[..., Awaitable[Visitor]]


@pytest.fixture
async def visit() -> AsyncIterator[Visit]:
    visitors: list[Visitor] = []

    async def come(metering: Metering, process: int = 0) -> Visitor:
        visitors.append(Visitor(await listen(metering, process)))
        return visitors[-1]

    yield come
    for visitor in visitors:
        await visitor.http.close()


@pytest.fixture
async def visitor(metering: Metering, visit: Visit) -> Visitor:
    return await visit(metering)


def test_only_what_logs_in_and_what_styles_is_open_to_all() -> None:
    assert len(GUARDED) == len(ROUTES) - 5
    assert {path.removeprefix("/console") for path in OPEN_TO_ALL} == {
        *("/login", "/login-links", "/login/{secret}", "/static/{name}"),
    }


async def test_without_a_session_every_page_leads_to_the_login_and_every_form_is_refused(visitor: Visitor) -> None:
    for method, path in GUARDED:
        async with visitor.http.request(method, visitor.origin + path, allow_redirects=False) as response:
            if method == "GET":
                assert response.status == 303, path
                assert response.headers["Location"].startswith("/console/login?next=%2Fconsole"), path
            else:
                assert response.status == 403, path
            assert "default-src 'none'" in response.headers["Content-Security-Policy"], path


async def test_every_form_without_the_token_of_this_session_is_refused(visitor: Visitor) -> None:
    await visitor.log_in()
    for method, path in GUARDED:
        for fields in ({}, {"csrf": "0" * 64}, {"csrf": "ü"}):
            if method == "POST":
                await visitor.post(path, 403, **fields)


async def test_a_form_from_another_site_is_refused_whatever_it_carries(visitor: Visitor) -> None:
    visitor.http.headers["Sec-Fetch-Site"] = "cross-site"
    await visitor.post("/console/login", 403, key=ADMIN_KEY)


async def test_another_sessions_token_is_no_good(metering: Metering, visitor: Visitor, visit: Visit) -> None:
    page = await visitor.log_in()
    token = _find_token(await page.get("/console/health"))
    other = Visitor(visitor.origin)
    await other.log_in()
    await other.post("/console/logout", 403, csrf=token)
    await other.http.close()
    await visitor.post("/console/logout", csrf=token)


async def test_only_an_admin_key_logs_in(visitor: Visitor) -> None:
    wrong = ("", "wrong", EVENTS_KEY, "ü" * 100)
    for page in await asyncio.gather(*(visitor.post("/console/login", 403, key=key) for key in wrong)):
        assert "This is no admin key" in page
    assert "Log in" in await visitor.get("/console/clients")


async def test_the_cookie_is_for_the_console_alone_and_secure_behind_https(visitor: Visitor) -> None:
    for protocols, is_secure in ("http", False), ("https", True), ("https, http", True):
        headers = {"X-Forwarded-Proto": protocols}
        async with visitor.http.post(
            f"{visitor.origin}/console/login", data={"key": ADMIN_KEY}, headers=headers, allow_redirects=False
        ) as response:
            cookie = response.cookies["console_session"]
            assert cookie["httponly"]
            assert (cookie["samesite"], cookie["path"], cookie["max-age"]) == ("Strict", "/console", "28800")
            assert bool(cookie["secure"]) is is_secure


async def test_after_the_login_one_is_where_one_wanted_to_be_and_never_elsewhere(visitor: Visitor) -> None:
    for wanted, reached in (
        ("/console/health?x=1", "/console/health?x=1"),
        ("https://example.com/console/", "/console/clients"),
        ("//example.com", "/console/clients"),
        ("/console/\\example.com", "/console/clients"),
    ):
        async with visitor.http.post(
            f"{visitor.origin}/console/login", data={"key": ADMIN_KEY, "next": wanted}, allow_redirects=False
        ) as response:
            assert response.headers["Location"] == reached


async def test_a_session_ends_when_it_is_told_to_for_its_cookie_too(visitor: Visitor) -> None:
    await visitor.log_in()
    [cookie] = [each.value for each in visitor.http.cookie_jar if each.key == "console_session"]
    await visitor.post("/console/logout", csrf=_find_token(await visitor.get("/console/health")))
    page = await visitor.get("/console/health", headers={"Cookie": f"console_session={cookie}"})
    assert "Admin key" in page
    assert "Log out" not in page


async def test_a_session_ends_after_a_working_day(visitor: Visitor, clock: MovableClock) -> None:
    await visitor.log_in()
    clock.advance(hours=7, minutes=59)
    assert "Log out" in await visitor.get("/console/health")
    clock.advance(minutes=2)
    assert "Log out" not in await visitor.get("/console/health")


async def test_every_process_knows_a_session_that_one_of_them_opened(
    start_metering: StartMetering, visit: Visit
) -> None:
    metering = await start_metering(processes=2)
    first, second = await visit(metering, 0), await visit(metering, 1)
    await first.log_in()
    [cookie] = [each.value for each in first.http.cookie_jar if each.key == "console_session"]
    assert "Log out" in await second.get("/console/health", headers={"Cookie": f"console_session={cookie}"})


async def test_a_session_ends_with_its_key(start_metering: StartMetering, visit: Visit) -> None:
    before = await visit(await start_metering())
    await before.log_in()
    [cookie] = [each.value for each in before.http.cookie_jar if each.key == "console_session"]
    headers = {"Cookie": f"console_session={cookie}"}
    without = await visit(await start_metering(service_keys=(f"admin:ops:{'0' * 64}",)), 1)
    assert "Log out" not in await without.get("/console/health", headers=headers)


async def test_a_link_logs_in_once_and_not_for_long(visitor: Visitor, clock: MovableClock) -> None:
    first, second = [await _make_link(visitor, ADMIN_KEY) for _ in range(2)]
    async with visitor.http.get(visitor.origin + first, headers={"Sec-Purpose": "prefetch"}) as response:
        assert response.status == 503
    assert "You are logged in" in await visitor.get(first)
    assert "Log out" in await visitor.get("/console/health")
    assert "was used before" in await visitor.get(first, 403)
    clock.advance(minutes=11)
    assert "was used before" in await visitor.get(second, 403)


async def test_only_an_admin_key_makes_a_link(visitor: Visitor) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {EVENTS_KEY}"}):
        async with visitor.http.post(f"{visitor.origin}/console/login-links", headers=headers) as response:
            assert response.status == 401


async def test_no_secret_is_stored_only_its_hash(metering: Metering, visitor: Visitor) -> None:
    await visitor.log_in()
    [cookie] = [each.value for each in visitor.http.cookie_jar if each.key == "console_session"]
    stored = str([dict(row) for row in await metering.fetch("SELECT * FROM console_session")])
    assert cookie not in stored
    assert not any(each.hex() in stored for each in _components(metering).service_keys)


async def test_ended_sessions_are_forgotten(metering: Metering, visitor: Visitor, clock: MovableClock) -> None:
    await visitor.log_in()
    clock.advance(days=1)
    await visitor.log_in()
    [row] = await metering.fetch("SELECT expires_at FROM console_session")
    assert row["expires_at"] == clock.now + timedelta(hours=8)


async def test_styles_are_compressed_and_kept_for_as_long_as_they_stay_the_same(visitor: Visitor) -> None:
    page = await visitor.get("/console/login")
    [address] = re.findall(r'href="(/console/static/console.css[^"]*)"', page)
    async with visitor.http.get(visitor.origin + address) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert "immutable" in response.headers["Cache-Control"]
        etag = response.headers["ETag"]
    async with visitor.http.get(visitor.origin + address, headers={"If-None-Match": etag}) as response:
        assert response.status == 304


async def test_an_unknown_page_says_so_as_a_page_and_a_body_that_is_no_form_is_refused(visitor: Visitor) -> None:
    await visitor.log_in()
    assert "Not Found" in await visitor.get("/console/nothing", 404)
    assert "is not known" in await visitor.get("/console/clients/nobody", 404)
    async with visitor.http.post(f"{visitor.origin}/console/logout", json={}) as response:
        assert response.status == 415
    for charset, body in (("utf-8", b"csrf=\xff"), ("nonsense", b"csrf=x")):
        headers = {"Content-Type": f"application/x-www-form-urlencoded; charset={charset}"}
        async with visitor.http.post(f"{visitor.origin}/console/login", data=body, headers=headers) as response:
            assert response.status == 400, charset


def _find_token(page: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
    assert found
    return found[1]


async def _make_link(visitor: Visitor, key: str) -> str:
    headers = {"Authorization": f"Bearer {key}"}
    async with visitor.http.post(f"{visitor.origin}/console/login-links", headers=headers) as response:
        assert response.status == 201
        return str((await response.json())["path"])


def _components(metering: Metering) -> Any:
    app = metering.clients[0].app
    assert app is not None
    return app[COMPONENTS]
