"""Several secrets of one client live at once, and a client changes its own without a refused token."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from catalog_service.clients.authenticate import BURST_ATTEMPTS
from catalog_service.clients.client import MAX_LIVE_SECRETS
from catalog_service.errors import SecretEnds, SecretNotFound, TooManySecrets
from tests.catalog_service.catalog import Catalog

REFUSED = {"statusCode": 401, "data": {}, "message": "Invalid client credentials"}
ENDING = {
    "statusCode": 409,
    "data": {},
    "message": "This secret is told to end; rotate the one that does not",
}


async def rotate_own(catalog: Catalog, secret: str, client_id: str = "acme", **body: Any) -> tuple[int, Any]:
    return await catalog.call("/rotate-client-secret", {"client_id": client_id, "client_secret": secret, **body})


async def good(catalog: Catalog, *secrets: str) -> list[bool]:
    return [(await catalog.request_token("acme", secret))[0] == 200 for secret in secrets]


async def test_tokens_go_on_being_issued_for_both_secrets_while_one_takes_over(catalog: Catalog) -> None:
    first = await catalog.register("acme")
    catalog.clock.move(seconds=1)
    issued = await catalog.secrets.issue("acme", actor="ops")
    assert await good(catalog, first, issued.client_secret) == [True, True]
    old, new = await catalog.secrets.list_live("acme")
    assert new.secret_id == issued.secret_id
    await catalog.secrets.revoke("acme", old.secret_id, actor="ops")
    assert await good(catalog, first, issued.client_secret) == [False, True]
    with pytest.raises(SecretNotFound):
        await catalog.secrets.revoke("acme", old.secret_id, actor="ops")


async def test_no_token_is_refused_while_secrets_are_issued_and_revoked(catalog: Catalog) -> None:
    secret, stop = await catalog.register("acme"), asyncio.Event()

    async def ask() -> set[int]:
        statuses = set()
        while not stop.is_set():
            statuses.add((await catalog.request_token("acme", secret))[0])
        return statuses

    asking = [asyncio.create_task(ask()) for _ in range(3)]
    for _ in range(10):
        issued = await catalog.secrets.issue("acme", actor="ops")
        assert await good(catalog, issued.client_secret) == [True]
        await catalog.secrets.revoke("acme", issued.secret_id, actor="ops")
    stop.set()
    assert await asyncio.gather(*asking) == [{200}] * 3


async def test_a_secret_that_is_issued_for_a_time_ends_by_itself(catalog: Catalog) -> None:
    await catalog.register("acme")
    until = catalog.clock() + timedelta(hours=1)
    issued = await catalog.secrets.issue("acme", expires_at=until, actor="ops")
    assert await good(catalog, issued.client_secret) == [True]
    catalog.clock.move(hours=1)
    assert await good(catalog, issued.client_secret) == [False]
    assert issued.secret_id not in [secret.secret_id for secret in await catalog.secrets.list_live("acme")]


async def test_so_many_secrets_may_live_at_once_whoever_asks_at_the_same_time(catalog: Catalog) -> None:
    await catalog.register("acme")
    attempts = [catalog.secrets.issue("acme", actor="ops") for _ in range(MAX_LIVE_SECRETS + 2)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, TooManySecrets)]
    assert len(refused) == 3
    live = await catalog.secrets.list_live("acme")
    assert len(live) == MAX_LIVE_SECRETS
    # Each of them opens the client, the last one that is compared, too.
    issued = [outcome.client_secret for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert await good(catalog, *issued) == [True] * (MAX_LIVE_SECRETS - 1)
    await catalog.secrets.revoke("acme", live[0].secret_id, actor="ops")
    await catalog.secrets.issue("acme", actor="ops")


async def test_when_a_secret_was_used_is_noted_to_the_hour(catalog: Catalog) -> None:
    secret = await catalog.register("acme")

    async def last_used() -> datetime | None:
        [kept] = await catalog.secrets.list_live("acme")
        return kept.last_used_at

    assert await last_used() is None
    await catalog.request_token("acme", "wrong")
    assert await last_used() is None
    await catalog.token("acme", secret)
    first = await last_used()
    assert first == catalog.clock()
    catalog.clock.move(minutes=59)
    await catalog.token("acme", secret)
    assert await last_used() == first
    catalog.clock.move(minutes=1)
    await catalog.token("acme", secret)
    assert await last_used() == catalog.clock()


async def test_a_use_that_cannot_be_noted_is_no_reason_to_refuse_a_token(catalog: Catalog) -> None:
    secret = await catalog.register("acme")
    await catalog.pool.execute("ALTER TABLE client_secret ADD CONSTRAINT unnoted CHECK (last_used_at IS NULL)")
    assert await good(catalog, secret) == [True]


async def test_a_client_rotates_the_secret_that_it_shows_and_no_other(catalog: Catalog) -> None:
    first = await catalog.register("acme")
    other = (await catalog.secrets.issue("acme", actor="ops")).client_secret
    response = await catalog.respond("/rotate-client-secret", {"client_id": "acme", "client_secret": first})
    assert (response.status, response.headers["Cache-Control"]) == (200, "no-store")
    data = (await response.json())["data"]
    second, until = data["client_secret"], catalog.clock() + timedelta(days=1)
    assert (data["expires_at"], datetime.fromisoformat(data["previous_expires_at"])) == (None, until)
    assert await good(catalog, first, second, other) == [True] * 3
    catalog.clock.move(days=1)
    assert await good(catalog, first, second, other) == [False, True, True]
    line = await catalog.pool.fetchrow("SELECT actor, action, target, detail::text FROM admin_audit ORDER BY 1 DESC")
    assert (line["actor"], line["action"], line["target"]) == ("the client", "rotate_secret", "acme")
    assert second not in line["detail"]


async def test_a_client_may_end_its_secret_at_once(catalog: Catalog) -> None:
    first = await catalog.register("acme")
    _, answer = await rotate_own(catalog, first, overlap_seconds=0)
    assert await good(catalog, first, answer["data"]["client_secret"]) == [False, True]
    assert await rotate_own(catalog, first) == (401, REFUSED)


async def test_a_secret_that_is_on_its_way_out_makes_no_successor(catalog: Catalog) -> None:
    first = await catalog.register("acme")
    assert (await rotate_own(catalog, first))[0] == 200
    assert await rotate_own(catalog, first) == (409, ENDING)
    until = catalog.clock() + timedelta(hours=1)
    for_a_time = await catalog.secrets.issue("acme", expires_at=until, actor="ops")
    assert await rotate_own(catalog, for_a_time.client_secret) == (409, ENDING)


async def test_two_rotations_at_once_make_one_secret(catalog: Catalog) -> None:
    await catalog.register("acme")
    [present] = await catalog.secrets.list_live("acme")
    outcomes = await asyncio.gather(
        *(catalog.secrets.rotate_own("acme", present, overlap=timedelta(hours=1)) for _ in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, SecretEnds) for outcome in outcomes) == 3
    assert len(await catalog.secrets.list_live("acme")) == 2


async def test_unknown_client_wrong_secret_and_disabled_client_are_refused_alike_and_change_nothing(
    catalog: Catalog,
) -> None:
    await catalog.register("acme")
    disabled = await catalog.register("gone")
    await catalog.operator.change("gone", disabled=True, actor="ops")
    before = await catalog.pool.fetch("SELECT * FROM client_secret ORDER BY client_id")
    for client_id, secret in (("nobody", "x"), ("acme", "x"), ("gone", disabled), ("no such/id", "x")):
        assert await rotate_own(catalog, secret, client_id) == (401, REFUSED)
    assert await catalog.pool.fetch("SELECT * FROM client_secret ORDER BY client_id") == before


async def test_failed_attempts_are_bounded_together_with_those_for_tokens(catalog: Catalog) -> None:
    secret = await catalog.register("acme")
    for _ in range(BURST_ATTEMPTS // 2):
        assert (await catalog.request_token("acme", "wrong"))[0] == 401
        assert (await rotate_own(catalog, "wrong"))[0] == 401
    assert (await rotate_own(catalog, "wrong"))[0] == 429
    assert (await catalog.request_token("acme", "wrong"))[0] == 429
    assert (await rotate_own(catalog, secret))[0] == 200


async def test_a_wrong_overlap_is_refused_by_name(catalog: Catalog) -> None:
    secret = await catalog.register("acme")
    for overlap in (-1, 366 * 86_400, "1", 1.5, None):
        status, answer = await rotate_own(catalog, secret, overlap_seconds=overlap)
        assert status == 400
        assert answer["message"].startswith("overlap_seconds: Must ")
