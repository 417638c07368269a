"""Bodies are read strictly: whatever two readers could understand differently is refused."""

import json
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.pytest_plugin import AiohttpClient
from aiohttp.test_utils import TestClient
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import fields

from service_chassis.errors import FieldError, InvalidRequest, ServiceError
from service_chassis.http.json_body import MAX_DEPTH, load, parse_json, read_body
from service_chassis.schema.fields import ClosedSchema

ACCEPTED: list[tuple[bytes, Any]] = [
    (b' {"a": [1, 2.5, true, null, "\\u00e9\xc3\xa9"]}\n', {"a": [1, 2.5, True, None, "éé"]}),
    (b"9223372036854775807", 2**63 - 1),
    (b"-9223372036854775808", -(2**63)),
    (b"0.12345678901234567890123", 0.12345678901234567890123),
    (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)),
    (b'"\\\\u0000"', "\\u0000"),
    (b'["[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["]', ["[" * 36]),
    (b'"\\ud83d\\ude00"', "\U0001f600"),
    (b'[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
]

REFUSED = [
    b"",
    b" ",
    b"{",
    b"{'a': 1}",
    b'{"a": 1,}',
    b"{} {}",
    b"// x\n{}",
    b"01",
    b"+1",
    b"\xef\xbb\xbf{}",
    b"NaN",
    b"[Infinity]",
    b"-Infinity",
    b"1e400",
    b"-1e400",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"1" + b"0" * 5000,
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\u0000"',
    b'{"\\u0000": 1}',
    b'"a\x00b"',
    b'"a\tb"',
    b'{"a": 1, "a": 1}',
    b'{"a": 1, "\\u0061": 2}',
    b'[{"b": {"a": 1, "a": 1}}]',
    b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    b'{"a":' * 33 + b"1" + b"}" * 33,
    b"[" * 300 + b"]" * 300,
    b"[" * 20_000 + b"]" * 20_000,
    b"[" * 500_000,
]


@pytest.mark.parametrize(("raw", "document"), ACCEPTED)
def test_what_has_one_meaning_is_read(raw: bytes, document: Any) -> None:
    assert parse_json(raw) == document


@pytest.mark.parametrize("raw", REFUSED, ids=lambda raw: repr(raw[:24]))
def test_what_is_ambiguous_or_broken_is_refused_as_the_body(raw: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_json(raw)
    [detail] = refused.value.details
    assert detail.field == "body"
    assert detail.message.startswith("Must ")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab\u00e9\U0001f600"), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_every_ordinary_document_survives(document: Any) -> None:
    for raw in (orjson.dumps(document), json.dumps(document).encode()):
        assert parse_json(raw) == document


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_refusal(raw: bytes) -> None:
    try:
        parse_json(raw)
    except InvalidRequest:
        return
    assert json.loads(raw) == orjson.loads(raw)


class Item(ClosedSchema):
    name = fields.String(required=True)


class Order(ClosedSchema):
    items = fields.List(fields.Nested(Item), required=True)
    note = fields.String()


def test_each_wrong_field_is_named_by_its_path() -> None:
    with pytest.raises(InvalidRequest) as refused:
        load(Order(), {"items": [{"name": "a"}, {"name": 1}, 2], "note": None, "more": 1})
    assert set(refused.value.details) == {
        FieldError("items.1.name", "Must be a string."),
        FieldError("items.2", "Must be an object."),
        FieldError("note", "Must not be null."),
        FieldError("more", "Unknown field."),
    }


@pytest.mark.parametrize("document", [None, [], "text", 1, True])
def test_a_document_that_is_no_object_is_refused_as_the_body(document: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        load(Order(), document)
    assert refused.value.details == (FieldError("body", "Must be a JSON object."),)


@pytest.fixture
async def echo(aiohttp_client: AiohttpClient) -> TestClient[Any, Any]:
    async def handle(request: web.Request) -> web.Response:
        try:
            return web.json_response(await read_body(request, Item(), optional="optional" in request.query))
        except ServiceError as error:
            return web.json_response(error.code, status=error.status)

    app = web.Application(client_max_size=1000)
    app.router.add_post("/", handle)
    return await aiohttp_client(app)


async def post(
    echo: TestClient[Any, Any], data: Any, content_type: str | None = "application/json", path: str = "/"
) -> tuple[int, Any]:
    skip = ["Content-Type"] if content_type is None else []
    headers = {} if content_type is None else {"Content-Type": content_type}
    async with echo.post(path, data=data, headers=headers, skip_auto_headers=skip) as response:
        return response.status, await response.json()


async def test_only_json_by_its_headers_is_read(echo: TestClient[Any, Any]) -> None:
    body = b'{"name": "x"}'
    for accepted in ("application/json", "Application/JSON; charset=UTF-8", "application/json;charset=utf8"):
        assert await post(echo, body, accepted) == (200, {"name": "x"})
    for refused in ("text/json", "application/json; charset=latin-1", "application/xml", "garbage", None):
        assert await post(echo, body, refused) == (415, "unsupported_media_type")


async def test_a_body_is_optional_only_where_it_is_said_to_be(echo: TestClient[Any, Any]) -> None:
    assert await post(echo, b"", None, "/?optional") == (400, "invalid_request")  # `name` is missing
    assert await post(echo, b"{}", None, "/?optional") == (415, "unsupported_media_type")
    assert await post(echo, b"", None) == (415, "unsupported_media_type")
    assert await post(echo, b"") == (400, "invalid_request")


async def test_a_large_body_is_refused_whether_or_not_it_says_how_large_it_is(echo: TestClient[Any, Any]) -> None:
    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * 100

    assert await post(echo, b" " * 1001) == (413, "payload_too_large")
    async with echo.post("/", data=chunks(), headers={"Content-Type": "application/json"}) as response:
        assert response.status == 413
    assert (await post(echo, b'{"name": "x"}' + b" " * 987))[0] == 200
