"""Who gets a token, and what it says."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from catalog_service.clients.client import MAX_LIVE_SECRETS, ClientSecret, Credentials
from service_chassis.auth.bearer import MAX_TOKEN_CHARACTERS
from tests.catalog_service.catalog import PERSON, Catalog

REFUSED = {"statusCode": 401, "data": {}, "message": "Invalid client credentials"}


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def test_a_client_token_says_who_may_do_what_for_how_long(catalog: Catalog) -> None:
    secret = await catalog.register("acme")
    _, answer = await catalog.request_token("acme", secret, fingerprint="device-ü")
    claims = claims_of(answer["data"]["access_token"])
    now = int(catalog.clock().timestamp())
    assert claims.pop("jti")
    assert claims == {
        "iss": "catalog_service",
        "aud": "plans-api",
        "iat": now,
        "exp": now + 900,
        "sub": "acme",
        "client_id": "acme",
        "scope": "plans plan_plays",
        "fingerprint_sha256": hashlib.sha256("device-ü".encode()).hexdigest(),
    }
    header = jwt.get_unverified_header(answer["data"]["access_token"])
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": (await catalog.published_kids())[0]}
    assert answer == {
        "statusCode": 200,
        "data": {"access_token": answer["data"]["access_token"], "token_type": "Bearer", "expires_in": 900},
        "message": "OKAY",
    }


async def test_a_token_is_not_kept_by_caches_on_its_way(catalog: Catalog) -> None:
    body = {"client_id": "acme", "client_secret": await catalog.register(), "fingerprint": "f"}
    response = await catalog.respond("/generate-client-auth-token", body)
    assert response.headers["Cache-Control"] == "no-store"


async def test_every_token_has_its_own_id(catalog: Catalog) -> None:
    secret = await catalog.register()
    first, second = [claims_of(await catalog.token("acme", secret)) for _ in range(2)]
    assert first["jti"] != second["jti"]


async def test_a_users_own_id_is_the_subject(catalog: Catalog) -> None:
    user = {**PERSON, "uid": "user-7", "email": "ada@example.org", "group_name": "Engines"}
    assert claims_of(await catalog.token("acme", user=user))["sub"] == "user-7"


async def test_a_user_without_an_id_gets_the_same_one_each_time_but_another_at_another_client(
    catalog: Catalog,
) -> None:
    secret, other = await catalog.register("acme"), await catalog.register("other")
    user, shouting = {**PERSON, "email": "ada@example.org"}, {**PERSON, "email": "ADA@Example.org"}
    subject = claims_of(await catalog.token("acme", secret, user))["sub"]
    assert claims_of(await catalog.token("acme", secret, shouting))["sub"] == subject
    assert claims_of(await catalog.token("other", other, user))["sub"] != subject
    # For ever: stored plays belong to it.
    assert subject == "b9734e2e-258c-522f-b85e-40204858ced8"


async def test_no_personal_data_is_in_a_token(catalog: Catalog) -> None:
    user = {**PERSON, "email": "ada@example.org", "group_name": "Engines"}
    text = str(claims_of(await catalog.token("acme", user=user)))
    assert not [value for value in [*user.values(), "device-1"] if value in text]


async def test_only_a_client_with_the_permission_may_read_all_clients(catalog: Catalog) -> None:
    secret = await catalog.register("partner", may_read_all_clients=True)
    assert claims_of(await catalog.token("partner", secret))["scope"] == "plans plan_plays plan_plays:all_clients"


async def test_the_longest_user_id_makes_a_token_that_is_read(catalog: Catalog) -> None:
    token = await catalog.token("a" * 64, user={**PERSON, "uid": "\U0001f600" * 128})
    assert len(token) < MAX_TOKEN_CHARACTERS
    assert await catalog.plans(token) == []


WRONG_USERS: list[tuple[Any, str]] = [
    ({**PERSON, "uid": "acme"}, "user.uid: Must not be the client's own id."),
    (PERSON, "user.email: Give an email or a uid."),
    ({**PERSON, "email": "nobody"}, "user.email: Must be an e-mail address."),
    ({**PERSON, "uid": None}, "user.uid: Must not be null."),
    ({"last_name": "L", "uid": "u"}, "user.first_name: Must be there."),
    ({**PERSON, "uid": 7}, "user.uid: Must be a string."),
    ([], "user: Must be an object."),
    ({**PERSON, "uid": "u" * 129}, "user.uid: Must be 1 to 128 characters."),
]


async def test_a_wrong_user_is_refused_by_field(catalog: Catalog) -> None:
    secret = await catalog.register()
    for user, message in WRONG_USERS:
        answer = await catalog.request_token("acme", secret, user)
        assert answer == (400, {"statusCode": 400, "data": {}, "message": message})


async def test_a_missing_field_is_named(catalog: Catalog) -> None:
    _, answer = await catalog.call("/generate-client-auth-token", {"client_id": "acme", "client_secret": 5})
    assert answer["message"] == ("client_secret: Must be a string. fingerprint: Must be there.")


async def test_unknown_client_wrong_secret_and_disabled_client_are_answered_alike(catalog: Catalog) -> None:
    await catalog.register("acme")
    disabled = await catalog.register("gone")
    await catalog.operator.change("gone", disabled=True, actor="ops")
    answers = [
        await catalog.request_token(*credentials)
        for credentials in [("nobody", "x"), ("acme", "x"), ("gone", disabled), ("no such/id", "x")]
    ]
    assert answers == [(401, REFUSED)] * 4


def test_the_same_comparisons_are_made_whatever_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    real = hmac.compare_digest

    def count(one: bytes, other: bytes) -> bool:
        compared[-1] += 1
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", count)
    now = datetime.now(UTC)
    secrets = [ClientSecret.of("right", now), ClientSecret.of("older", now)]
    for known, disabled, held in [(True, False, secrets), (True, True, secrets[:1]), (False, False, [])]:
        compared.append(0)
        accepted = Credentials(known, disabled, False, held).accept("right")
        assert accepted == (secrets[0] if known and not disabled else None)
    assert compared == [MAX_LIVE_SECRETS] * 3


def test_a_client_without_a_secret_is_opened_by_none() -> None:
    assert not Credentials(True, False, False, []).accept("")


async def rotate(catalog: Catalog, overlap: timedelta) -> str:
    return (await catalog.secrets.rotate_all("acme", overlap=overlap, actor="ops")).client_secret


async def test_two_secrets_are_good_during_a_rotation_and_then_one(catalog: Catalog) -> None:
    first = await catalog.register("acme")
    second = await rotate(catalog, timedelta(hours=1))

    async def good(*secrets: str) -> list[bool]:
        return [(await catalog.request_token("acme", secret))[0] == 200 for secret in secrets]

    assert await good(first, second) == [True, True]
    third = await rotate(catalog, timedelta(hours=1))
    assert await good(first, second, third) == [False, True, True]
    catalog.clock.move(hours=1)
    assert await good(first, second, third) == [False, False, True]
    fourth = await rotate(catalog, timedelta(0))
    assert await good(third, fourth) == [False, True]


async def test_secrets_are_stored_as_hashes_only(catalog: Catalog) -> None:
    secret = await catalog.register()
    stored = await catalog.pool.fetch("SELECT client::text, client_secret::text FROM client, client_secret")
    assert secret not in str(stored)
