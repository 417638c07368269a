"""Another service's keys: fetched seldom, kept while it is away."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.pytest_plugin import AiohttpServer
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from structlog.testing import capture_logs

from service_chassis.auth import jwks
from service_chassis.auth.jwks import RemoteKeys
from service_chassis.errors import KeysUnavailable

ENTRIES: dict[str, dict[str, Any]] = {
    kid: {**ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True), "kid": kid}
    for kid in ("k1", "k2")
}


class Issuer:
    """Publishes `document` with `status`, and counts who asks."""

    def __init__(self) -> None:
        self.document: Any = {"keys": [ENTRIES["k1"]]}
        self.status = 200
        self.asked = 0
        self.now = 1000.0
        self.answering = asyncio.Event()
        self.answering.set()

    def monotonic(self) -> float:
        """Stand in for the module `time` of the code under test."""
        return self.now

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        await self.answering.wait()
        return web.json_response(self.document, status=self.status)


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Issuer:
    issuer = Issuer()
    monkeypatch.setattr(jwks, "time", issuer)
    return issuer


@pytest.fixture
async def keys(issuer: Issuer, aiohttp_server: AiohttpServer) -> AsyncIterator[RemoteKeys]:
    app = web.Application()
    app.router.add_get("/keys", issuer.answer)
    server = await aiohttp_server(app)
    async with aiohttp.ClientSession() as session:
        yield RemoteKeys(session, str(server.make_url("/keys")))


async def test_keys_are_fetched_once_for_all_who_wait(keys: RemoteKeys, issuer: Issuer) -> None:
    found = await asyncio.gather(*(keys.find("k1") for _ in range(20)))
    assert all(found)
    issuer.now += 299
    assert await keys.find("k1")
    assert issuer.asked == 1
    issuer.now += 2
    assert await keys.find("k1")
    assert issuer.asked == 2


async def test_a_made_up_key_does_not_flood_the_issuer_and_a_new_one_is_found(
    keys: RemoteKeys, issuer: Issuer
) -> None:
    assert [await keys.find(f"made-up-{number}") for number in range(50)] == [None] * 50
    assert issuer.asked == 1
    issuer.document = {"keys": list(ENTRIES.values())}
    issuer.now += 61
    assert await keys.find("k2")
    assert issuer.asked == 2


@pytest.mark.parametrize(
    ("status", "document", "found"),
    [
        (404, {}, "its status is 404"),
        (302, {}, "its status is 302"),
        (200, "text", "its answer holds no key that can be used"),
        (200, {"keys": []}, "its answer holds no key that can be used"),
        (200, {"keys": [ENTRIES["k1"]], "more": "x" * 70_000}, "its answer is too large for a set of keys"),
    ],
)
async def test_whoever_has_only_the_log_reads_where_keys_were_asked_for_and_what_came(
    keys: RemoteKeys, issuer: Issuer, status: int, document: Any, found: str
) -> None:
    issuer.status, issuer.document = status, document
    with capture_logs() as logs, pytest.raises(KeysUnavailable):
        await keys.check()
    assert [(line["event"], line["found"]) for line in logs] == [("jwks_fetch_failed", found)]
    assert logs[0]["jwks_url"].endswith("/keys")


async def test_an_issuer_that_is_away_is_named_in_the_log() -> None:
    async with aiohttp.ClientSession() as session:
        with capture_logs() as logs, pytest.raises(KeysUnavailable):
            await RemoteKeys(session, "http://127.0.0.1:1/keys").check()
    assert logs[0]["jwks_url"] == "http://127.0.0.1:1/keys"
    assert logs[0]["found"] == "nobody listens there (ConnectionRefusedError)"


async def test_a_withdrawn_key_is_not_found_any_more(keys: RemoteKeys, issuer: Issuer) -> None:
    assert await keys.find("k1")
    issuer.document = {"keys": [ENTRIES["k2"]]}
    issuer.now += 301
    assert await keys.find("k1") is None


@pytest.mark.parametrize(
    "document",
    [[], {}, {"keys": None}, {"keys": [{}]}, {"keys": [{"kid": "k1", "kty": "EC"}]}, {"keys": ["x"]}, "text", None],
    ids=repr,
)
async def test_nonsense_from_the_issuer_leaves_the_known_keys(
    keys: RemoteKeys, issuer: Issuer, document: Any
) -> None:
    assert await keys.find("k1")
    issuer.document = document
    issuer.now += 301
    assert await keys.find("k1")


async def test_an_issuer_that_fails_leaves_the_known_keys_and_is_asked_again(
    keys: RemoteKeys, issuer: Issuer
) -> None:
    assert await keys.find("k1")
    issuer.status = 500
    issuer.now += 301
    assert await keys.find("k1")
    assert await keys.find("k1")
    assert issuer.asked == 2
    issuer.now += 1
    assert await keys.find("k1")
    async with asyncio.timeout(5):
        while issuer.asked < 3:  # noqa: ASYNC110 - it is asked beside the request
            await asyncio.sleep(0.001)


async def test_known_keys_do_not_wait_for_an_issuer_that_hangs(keys: RemoteKeys, issuer: Issuer) -> None:
    assert await keys.find("k1")
    issuer.status = 500
    issuer.now += 301
    assert await keys.find("k1")
    issuer.answering.clear()
    issuer.now += 1
    try:
        async with asyncio.timeout(1):
            assert all(await asyncio.gather(*(keys.find("k1") for _ in range(20))))
        made_up = asyncio.create_task(keys.find("made-up"))
        async with asyncio.timeout(1):
            assert await keys.find("k1")
    finally:
        issuer.answering.set()
    assert await made_up is None


async def test_a_key_of_another_curve_or_too_large_a_set_is_not_taken(keys: RemoteKeys, issuer: Issuer) -> None:
    other = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)
    issuer.document = {"keys": [{**other, "kid": "k1", "alg": "ES256"}]}
    with pytest.raises(KeysUnavailable):
        await keys.find("k1")
    issuer.document = {"keys": [ENTRIES["k1"]], "more": "x" * 70_000}
    issuer.now += 1
    with pytest.raises(KeysUnavailable):
        await keys.find("k1")


async def test_keys_of_other_kinds_beside_ours_are_passed_over(keys: RemoteKeys, issuer: Issuer) -> None:
    rsa_key = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key(), as_dict=True)
    foreign = [{**rsa_key, "kid": "rsa", "alg": "RS256"}, {"kty": "OKP", "kid": "ed"}, {"kty": "EC"}, None]
    issuer.document = {"keys": [*foreign, ENTRIES["k1"], *foreign]}
    assert await keys.find("k1")
    assert await keys.find("rsa") is None


async def test_no_key_at_all_is_not_ready(keys: RemoteKeys, issuer: Issuer) -> None:
    issuer.status = 500
    with pytest.raises(KeysUnavailable):
        await keys.check()
    with pytest.raises(KeysUnavailable):  # of no token can it be said that its key is unknown
        await keys.find("k1")
    issuer.status = 200
    issuer.now += 1
    await keys.check()
