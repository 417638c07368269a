"""What strangers put into paths, queries and bodies: every route refuses it in its own words, and none breaks."""

import io
import re
from typing import Any

import pytest
from yarl import URL

from tests.security.house import KEYS, House
from tests.security.test_access import TABLE as EVERY_ROUTE

TABLE = {call: access for call, access in EVERY_ROUTE.items() if call[0] != "metering_admin"}
"""The administration of metering is metering's own handlers once more."""
VALUES = [
    "%00",
    "a%00b",
    "%ff",
    "%ed%a0%80",
    "%0d%0aX-Injected:%201",
    "..%2f..%2fetc%2fpasswd",
    "%27%20OR%20%271%27=%271",
    "%25s%25n",
    "%7bid%7d",
    "%e2%80%ae%f0%9f%92%a3",
    "-1",
    "1e9",
    "NaN",
    "%d9%a3",
    "99999999999999999999999999",
    "00000000-0000-0000-0000-000000000000",
    "x" * 3000,
]
QUERIES = ("limit", "cursor", "clientId", "userId", "status", "planId", "state", "olderThanSeconds", "month", "after")
BODIES: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b"0",
    b'"x"',
    b"{",
    b"{}}",
    b"\xff",
    b"\xef\xbb\xbf{}",
    b'{"a": NaN}',
    b'{"a": 1e999}',
    b'{"a": 123456789012345678901234567890}',
    b'{"a": 1, "a": 2}',
    b'{"a": "\\u0000"}',
    b'{"a": "\\ud800"}',
    b'{"a": "\x01"}',
    b"[" * 20_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"events": [null]}',
    b'{"events": [{"holdId": 1}]}',
    b'{"events": {"a": 1}}',
    b'{"holdIds": ["x", null, {}]}',
    b'{"planId": {"a": 1}, "plannedLessons": "x"}',
    b'{"planId": "' + b"x" * 60_000 + b'"}',
    b'{"plan_id": true, "is_delete": "yes"}',
    b'{"client_id": [], "client_secret": {}, "fingerprint": 1, "user": "x"}',
    b'{"' + b"k" * 5000 + b'": 1}',
]


BODILESS = ("GET", "DELETE")
BODY_IS_OPTIONAL = ("/get-plans", "/admin/clients/{client_id}/secrets")


async def send(house: House, service: str, method: str, path: str, **options: Any) -> tuple[int, Any]:
    access = TABLE[service, method, re.sub(r"\?.*", "", options.pop("canonical", path))]
    bearer = KEYS[access.keys[0]] if access.keys else await house.token()
    url = URL(f"{house.urls[service]}{path}", encoded=True)
    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
    async with house.http.request(method, url, headers=headers, **options) as response:
        document = await response.json()
        assert "X-Injected" not in response.headers
        shape = {"catalog": {"statusCode", "data", "message"}, "activity": {"error"}, "metering": {"error", "code"}}
        if response.status >= 400:
            assert shape[service.removesuffix("_admin")] <= document.keys(), document
        return response.status, document


async def test_no_value_in_a_path_breaks_a_call(house: House) -> None:
    for service, method, path in TABLE:
        if "{" not in path:
            continue
        for value in VALUES:
            data = b"{}" if method not in BODILESS else None
            wanted = re.sub(r"{\w+}", value, path)
            status, answer = await send(house, service, method, wanted, canonical=path, data=data)
            assert status < 500, (service, method, path, value[:40], answer)


async def test_no_value_in_a_query_breaks_a_call(house: House) -> None:
    for service, method, path in TABLE:
        if method != "GET":
            continue
        present = path.format_map(house.names)
        for name in QUERIES:
            for value in ["", *VALUES]:
                status, answer = await send(
                    house, service, method, f"{present}?{name}={value}&{name}={value}", canonical=path
                )
                assert status < 500, (service, path, name, value[:40], answer)


async def test_no_body_breaks_a_call(house: House) -> None:
    for service, method, path in TABLE:
        if method in BODILESS:
            continue
        present = path.format_map(house.names)
        for body in BODIES:
            status, answer = await send(house, service, method, present, canonical=path, data=body)
            assert status < 500, (service, path, body[:40], answer)
            if body and not body.startswith(b'{"') and path not in BODY_IS_OPTIONAL:
                assert status == 400, (service, path, body[:40], answer)


@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}, {}])
async def test_a_body_that_is_not_plain_json_is_415_everywhere(house: House, headers: dict[str, str]) -> None:
    for (service, method, path), access in TABLE.items():
        if method in BODILESS:
            continue
        bearer = KEYS[access.keys[0]] if access.keys else await house.token()
        sent = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/octet-stream", **headers}
        url = house.urls[service] + path.format_map(house.names)
        async with house.http.request(method, url, data=b'{"a": 1}', headers=sent) as response:
            assert response.status == 415, (service, path)
            assert response.content_type == "application/json"


async def test_ten_megabytes_are_413_everywhere(house: House) -> None:
    for (service, method, path), access in TABLE.items():
        if method in BODILESS:
            continue
        bearer = KEYS[access.keys[0]] if access.keys else await house.token()
        sent = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        url = house.urls[service] + path.format_map(house.names)
        async with house.http.request(method, url, data=io.BytesIO(b" " * 10_000_000), headers=sent) as response:
            assert response.status == 413, (service, path)
            assert response.content_type == "application/json"


async def test_an_unknown_parameter_is_refused_where_it_could_widen_what_is_returned(
    house: House,
) -> None:
    for service, method, path in TABLE:
        present = path.format_map(house.names)
        data = None if method in BODILESS else b"{}"
        status, answer = await send(house, service, method, f"{present}?limmit=1", canonical=path, data=data)
        if service == "metering" or (method, path) == ("GET", "/api/plan-plays") or "api-usage" in path:
            assert (status, answer["details"]) == (400, [{"field": "limmit", "message": "Unknown parameter."}]), path
        elif service == "catalog_admin":
            assert (status, answer["message"]) == (400, "limmit: Unknown parameter."), path
        else:
            assert "limmit" not in str(answer)
    status, answer = await send(
        house, "metering", "GET", "/internal/policies?limit=1&limit=2", canonical="/internal/policies"
    )
    assert (status, answer["details"]) == (400, [{"field": "limit", "message": "Must be given once."}])
