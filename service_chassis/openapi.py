"""A service's table of calls: what is routed is what is documented, from the schemas that validate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import swagger_ui
from aiohttp import web
from aiohttp.typedefs import Handler
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema

_SWAGGER_FILES = Path(swagger_ui.__file__).parent / "static"
_SERVED_FILES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}

_DOCS_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="docs"></div><script src="docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({{url: "openapi.json", dom_id: "#docs", validatorUrl: null}});</script></body></html>
"""


@dataclass(frozen=True)
class Answer:
    """One documented answer. `schema` of its body, `headers` by name with their description."""

    description: str
    schema: type[Schema] | Mapping[str, Any] | None = None
    example: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True)
class Endpoint:
    """One call: its route, who may use it, and what goes in and comes out."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Mapping[int, Answer]
    description: str = ""
    tag: str = ""
    body: type[Schema] | None = None
    body_required: bool = True
    body_example: Any = None
    parameters: Sequence[Mapping[str, Any]] = ()
    """OpenAPI parameter objects; those of the path are required and must be listed too."""
    secured: bool = True


def query(name: str, description: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe an optional query parameter, a string unless `schema` says otherwise."""
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": dict(schema or {"type": "string"}),
    }


def path(name: str, description: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe a path parameter, a string unless `schema` says otherwise."""
    return {**query(name, description, schema), "in": "path", "required": True}


def header(name: str, description: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe an optional request header."""
    return {**query(name, description, schema), "in": "header"}


def add_endpoints(
    app: web.Application, endpoints: Sequence[Endpoint], *, title: str, description: str, version: str
) -> None:
    """Route every endpoint of the table, and serve its OpenAPI 3.1 document and a page that renders it offline."""
    for endpoint in endpoints:
        app.router.add_route(endpoint.method, endpoint.path, endpoint.handler)
    document = orjson.dumps(describe(endpoints, title=title, description=description, version=version))
    page = _DOCS_PAGE.format(title=title)

    async def show_document(_: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    async def show_page(_: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html")

    async def show_file(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in _SERVED_FILES:
            raise web.HTTPNotFound
        return web.FileResponse(_SWAGGER_FILES / name, headers={"Content-Type": _SERVED_FILES[name]})

    app.router.add_get("/openapi.json", show_document)
    app.router.add_get("/docs", show_page)
    app.router.add_get("/docs/{name}", show_file)


def describe(endpoints: Sequence[Endpoint], *, title: str, description: str, version: str) -> dict[str, Any]:
    """Answer the OpenAPI 3.1 document of a table of calls."""
    spec = APISpec(
        title=title,
        version=version,
        openapi_version="3.1.0",
        plugins=[MarshmallowPlugin(schema_name_resolver=_component_name)],
        info={"description": description},
    )
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})
    operations: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operations.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    for route, by_method in operations.items():
        spec.path(path=route, operations=by_method)
    document: dict[str, Any] = spec.to_dict()
    return document


def _component_name(schema: type[Schema] | Schema) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return kind.__name__.removesuffix("Schema")


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.handler.__name__,
        "summary": endpoint.summary,
        "responses": {str(status): _response(answer) for status, answer in endpoint.answers.items()},
        "security": [{"bearer": []}] if endpoint.secured else [],
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if endpoint.tag:
        operation["tags"] = [endpoint.tag]
    if endpoint.parameters:
        operation["parameters"] = [dict(parameter) for parameter in endpoint.parameters]
    if endpoint.body is not None:
        content: dict[str, Any] = {"schema": endpoint.body}
        if endpoint.body_example is not None:
            content["example"] = endpoint.body_example
        operation["requestBody"] = {
            "required": endpoint.body_required,
            "content": {"application/json": content},
        }
    return operation


def _response(answer: Answer) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.description}
    if answer.schema is not None:
        content: dict[str, Any] = {"schema": answer.schema}
        if answer.example is not None:
            content["example"] = answer.example
        response["content"] = {answer.content_type: content}
    if answer.headers:
        response["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in answer.headers.items()
        }
    return response
