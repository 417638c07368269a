"""What is routed is what is documented, and the page needs nobody else's server."""

import re
from typing import Any

import pytest
from aiohttp import web
from aiohttp.pytest_plugin import AiohttpClient
from marshmallow import EXCLUDE, Schema, fields

from service_chassis.errors import NotFound
from service_chassis.openapi import pages
from service_chassis.openapi.endpoint import Api, Endpoint, Failure, Success, header, path, query
from service_chassis.openapi.pages import DOCUMENT, add_endpoints
from service_chassis.operations.health import render_operations_error
from service_chassis.schema.dump import encode_json


class ThingSchema(Schema):
    """A thing."""

    name = fields.String(required=True)
    sizes = fields.Dict(keys=fields.String(), values=fields.Integer())


class LooseThingSchema(ThingSchema):
    """A thing, of callers who may say more."""

    class Meta:
        """marshmallow's options."""

        unknown = EXCLUDE


class ErrorSchema(Schema):
    """Why not."""

    error = fields.String(required=True)


API = Api(
    title="Things",
    version="1.2.3",
    description="All about things.",
    tags={"things": "Things.", "others": "Others."},
    bearer={"bearerFormat": "JWT", "description": "A token."},
    render_error=render_operations_error,
    render_index=encode_json,
    error_schema=lambda _: ErrorSchema,
    body_limit_bytes=1024,
)


async def rename_thing(request: web.Request) -> web.Response:
    return web.json_response({"name": request.match_info["id"]}, headers={"ETag": "1", "X-Request-ID": "1"})


ENDPOINT = Endpoint(
    "PUT",
    "/things/{id}",
    rename_thing,
    summary="Rename a thing",
    description="At once.",
    tag="things",
    responses={200: Success("The thing.", ThingSchema, {"name": "x"}, {"ETag": "Its version."})},
    failures=[Failure("None.", NotFound("No such thing", headers={"Retry-After": "1"}))],
    body=ThingSchema,
    body_examples={"Rename": {"name": "x"}},
    parameters=[
        path("id", "Its id."),
        query("dry", "Only try.", {"type": "boolean"}),
        header("If-Match", "Its version."),
    ],
)


async def fetch_document(aiohttp_client: AiohttpClient, *endpoints: Endpoint) -> dict[str, Any]:
    app = web.Application()
    add_endpoints(app, endpoints, API)
    http = await aiohttp_client(app)
    async with http.put("/things/7") as response:
        assert await response.json() == {"name": "7"}
    async with http.get("/openapi.json") as response:
        document: dict[str, Any] = await response.json()
    return document


async def test_calls_are_described_when_somebody_asks_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service whose admin calls are on two ports would do it twice at each start."""
    asked: list[str] = []

    def note(endpoints: Any, api: Api) -> dict[str, str]:
        asked.append(api.title)
        return {}

    monkeypatch.setattr(pages, "describe", note)
    app = web.Application()
    add_endpoints(app, [ENDPOINT], API)
    assert asked == []
    assert [app[DOCUMENT](), app[DOCUMENT]()] == [b"{}", b"{}"]
    assert asked == [API.title]


async def test_an_endpoint_is_routed_and_described_from_one_entry(aiohttp_client: AiohttpClient) -> None:
    document = await fetch_document(aiohttp_client, ENDPOINT)
    assert document["openapi"].startswith("3.1")
    operation = document["paths"]["/things/{id}"]["put"]
    assert operation["security"] == [{"bearer": []}]
    assert [(parameter["in"], parameter.get("required", False)) for parameter in operation["parameters"][:3]] == [
        ("path", True),
        ("query", False),
        ("header", False),
    ]
    thing = {"$ref": "#/components/schemas/Thing"}
    assert operation["requestBody"]["content"]["application/json"]["schema"] == thing
    answer = operation["responses"]["200"]
    assert answer["content"]["application/json"] == {
        "schema": thing,
        "examples": {"answer": {"value": {"name": "x"}}},
    }
    assert "ETag" in answer["headers"]


async def test_errors_are_described_by_raising_them(aiohttp_client: AiohttpClient) -> None:
    document = await fetch_document(aiohttp_client, ENDPOINT)
    responses = document["paths"]["/things/{id}"]["put"]["responses"]
    assert set(responses) == {"200", "400", "404", "503", "default"}
    shared = document["components"]["responses"]["Error"]["content"]["application/json"]
    assert shared["schema"] == {"$ref": "#/components/schemas/Error"}
    assert set(shared["examples"]) == {"408", "413", "415", "431", "500"}
    content = responses["404"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/Error"}
    assert content["examples"] == {"No such thing": {"value": {"error": "No such thing"}}}
    assert responses["404"]["headers"]["Retry-After"]["required"]


async def test_only_bodies_that_are_refused_for_more_are_closed(aiohttp_client: AiohttpClient) -> None:
    loose = Endpoint(
        "POST",
        "/things",
        rename_thing,
        summary="Make",
        description="Make one.",
        tag="things",
        responses={201: Success("The thing.", LooseThingSchema, {"name": "x"})},
        body=LooseThingSchema,
    )
    schemas = (await fetch_document(aiohttp_client, ENDPOINT, loose))["components"]["schemas"]
    assert schemas["Thing"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["LooseThing"]
    assert "additionalProperties" not in schemas["Error"]
    assert schemas["Thing"]["properties"]["sizes"]["propertyNames"] == {"type": "string"}


async def test_the_page_is_rendered_from_our_own_files(aiohttp_client: AiohttpClient) -> None:
    app = web.Application()
    add_endpoints(app, [ENDPOINT], API)
    http = await aiohttp_client(app)
    async with http.get("/docs") as response:
        page = await response.text()
        policy = response.headers["Content-Security-Policy"]
    assert "//" not in page.replace("<!doctype html>", "")
    assert "default-src 'none'" in policy
    assert "//" not in policy
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    own = [file for file in files if file != "data:,"]
    assert {file.split("/")[0] for file in own} == {"docs"}
    for file in own:
        async with http.get(f"/{file}") as response:
            assert response.status == 200
            text = await response.text()
        if file.endswith(".css"):
            assert set(re.findall(r"url\(['\"]?([a-z]+:|[^)]{0,20})", text)) <= {"data:"}
            assert "@import" not in text
    async with http.get("/docs/secrets.txt") as response:
        assert response.status == 404
