"""What is routed is what is documented, and the page needs nobody else's server."""

import re
from typing import Any

from aiohttp import web
from aiohttp.pytest_plugin import AiohttpClient
from marshmallow import Schema, fields

from service_chassis.openapi import Answer, Endpoint, add_endpoints, header, path, query


class ThingSchema(Schema):
    """A thing."""

    name = fields.String(required=True)


async def rename_thing(request: web.Request) -> web.Response:
    return web.json_response({"name": request.match_info["id"]})


ENDPOINT = Endpoint(
    "PUT",
    "/things/{id}",
    rename_thing,
    "Rename a thing",
    {200: Answer("The thing.", ThingSchema, {"name": "x"}, {"ETag": "Its version."}), 404: Answer("None.")},
    body=ThingSchema,
    parameters=[
        path("id", "Its id."),
        query("dry", "Only try.", {"type": "boolean"}),
        header("If-Match", "Its version."),
    ],
)


async def test_an_endpoint_is_routed_and_described_from_one_entry(aiohttp_client: AiohttpClient) -> None:
    app = web.Application()
    add_endpoints(app, [ENDPOINT], title="Things", description="All about things.", version="1.2.3")
    http = await aiohttp_client(app)
    async with http.put("/things/7") as response:
        assert await response.json() == {"name": "7"}
    async with http.get("/openapi.json") as response:
        document: dict[str, Any] = await response.json()
    assert document["openapi"].startswith("3.1")
    operation = document["paths"]["/things/{id}"]["put"]
    assert operation["security"] == [{"bearer": []}]
    assert [(parameter["in"], parameter.get("required", False)) for parameter in operation["parameters"]] == [
        ("path", True),
        ("query", False),
        ("header", False),
    ]
    thing = {"$ref": "#/components/schemas/Thing"}
    assert operation["requestBody"]["content"]["application/json"]["schema"] == thing
    answer = operation["responses"]["200"]
    assert answer["content"]["application/json"] == {"schema": thing, "example": {"name": "x"}}
    assert "ETag" in answer["headers"]
    assert "content" not in operation["responses"]["404"]


async def test_the_page_is_rendered_from_our_own_files(aiohttp_client: AiohttpClient) -> None:
    app = web.Application()
    add_endpoints(app, [ENDPOINT], title="Things", description="", version="1")
    http = await aiohttp_client(app)
    async with http.get("/docs") as response:
        page = await response.text()
    assert "//" not in page
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(files) == 2
    for name in files:
        async with http.get(f"/{name}") as response:
            assert response.status == 200
    async with http.get("/docs/index.html") as response:
        assert response.status == 404
