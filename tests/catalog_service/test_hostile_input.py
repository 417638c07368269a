"""Whatever is sent, the answer is a refusal in the envelope, and says what to mend."""

from typing import Any

import orjson

from tests.catalog_service.catalog import PERSON, PLAN, PLAN_CALLS, Catalog

CALLS = ("/generate-client-auth-token", *PLAN_CALLS)
BODY = "body: Must be valid JSON in UTF-8."

HOSTILE_BODIES: list[tuple[bytes, str]] = [
    (b"{", BODY),
    (b"nothing", BODY),
    (b'{"a": NaN}', BODY),
    (b'{"a": -Infinity}', BODY),
    (b'{"a": 1e999}', BODY),
    (b'{"plan_id": "\xff"}', BODY),
    (b'{"plan_id": "\\ud800"}', BODY),
    (b'{"plan_id": "a\nb"}', BODY),
    (b'{"plan_id": "a\\u0000b"}', "body: Must not hold NUL characters."),
    (b'{"plan_id": "a", "plan_id": "b"}', "body: Must not repeat a name in an object, and repeats 'plan_id'."),
    (b'{"a": ' + b"9" * 400 + b"}", ""),
    (b'{"a": 18446744073709551616}', "body: Must not hold integers outside 64 bits."),
    (b"[" * 20_000 + b"]" * 20_000, BODY),
    (b'{"a":' * 500 + b"1" + b"}" * 500, "body: Must not be nested deeper than 32 levels."),
    (b"[]", "body: Must be a JSON object."),
    (b'"text"', "body: Must be a JSON object."),
    (b"null", "body: Must be a JSON object."),
]


async def test_hostile_bodies_are_refused_everywhere(catalog: Catalog) -> None:
    token = await catalog.token()
    for path in CALLS:
        for body, message in HOSTILE_BODIES:
            status, answer = await catalog.call(path, body, token)
            assert (status, answer["data"]) == (400, {}), body[:40]
            assert answer["message"].startswith(message), body[:40]


async def test_a_body_that_is_no_json_by_its_headers_is_415(catalog: Catalog) -> None:
    token = await catalog.token()
    for path in CALLS:
        for headers in (
            {"Content-Type": "text/plain"},
            {"Content-Type": "application/x-www-form-urlencoded"},
            {"Content-Type": "application/json; charset=utf-16"},
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        ):
            status, answer = await catalog.call(path, b"{}", token, headers=headers)
            assert (status, answer["statusCode"], answer["data"]) == (415, 415, {})


async def test_a_body_that_is_too_large_is_413(catalog: Catalog) -> None:
    token = await catalog.token()
    for path in CALLS:
        status, answer = await catalog.call(path, b" " * (64 * 1024) + b"{}", token)
        assert (status, answer["message"]) == (413, "Request body too large")


async def test_wrong_paths_and_methods_are_in_the_envelope(catalog: Catalog) -> None:
    for path in ("/plans", "/get-plans/", "/get-plans%00", "/nothing"):
        status, answer = await catalog.call(path, {})
        assert (status, answer) == (404, {"statusCode": 404, "data": {}, "message": "Not Found"})
    for path in CALLS:
        async with catalog.http.get(path) as response:
            assert (response.status, response.headers["Allow"]) == (405, "POST")
            assert await response.json() == {"statusCode": 405, "data": {}, "message": "Method Not Allowed"}


async def test_wrong_types_in_every_field_are_refused_and_store_nothing(catalog: Catalog) -> None:
    token = await catalog.token()
    values: list[Any] = [None, True, 0, -1, 1.5, 2**63 - 1, [], {}, [[]], ["x"], {"x": "y"}, "x" * 20_000]
    whole: dict[str, dict[str, Any]] = {
        "/generate-client-auth-token": {"client_id": "a", "client_secret": "b", "fingerprint": "c", "user": PERSON},
        "/get-plan-details": {"plan_id": "p"},
        "/sync-plan": {**PLAN, "associated_documents": [], "associated_supplemental_benefits": []},
    }
    for path, body in whole.items():
        for field in body:
            for value in values:
                if value == [] and field.startswith("associated"):
                    continue
                status, answer = await catalog.call(path, {**body, field: value}, token)
                assert status == 400, (path, field, value)
                assert field in answer["message"]
                assert len(orjson.dumps(answer)) < 1000
    assert await catalog.plans(token) == []


async def test_the_callers_own_text_is_not_echoed(catalog: Catalog) -> None:
    secret = await catalog.register()
    marked = {"client_id": "acme", "client_secret": "marked-1", "fingerprint": "marked-2"}
    person = {"first_name": "marked-3", "last_name": "marked-4", "email": "marked-5"}
    for body in (marked, {**marked, "client_secret": secret, "user": person}):
        _, answer = await catalog.call("/generate-client-auth-token", body)
        assert "marked" not in str(answer)
        assert secret not in str(answer)
