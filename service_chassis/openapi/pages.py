"""Route a table of calls, and publish it: what is routed is what is documented."""

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import orjson
import swagger_ui
from aiohttp import web

from service_chassis.application import METRICS, create_web_app
from service_chassis.http.bounds import ADMIN_CONNECTIONS, DEFAULT_BOUNDS, HttpBounds
from service_chassis.http.json_response import JsonResponse
from service_chassis.http.paths import take_any_id
from service_chassis.http.query import known_query_middleware
from service_chassis.openapi.document import describe
from service_chassis.openapi.endpoint import Api, Endpoint
from service_chassis.process_settings import ProcessSettings

DOCUMENT: web.AppKey[Callable[[], bytes]] = web.AppKey("document")
"""Returns the document that an application publishes; made when it is asked for first, and then kept."""

_SWAGGER_FILES = Path(swagger_ui.__file__).parent / "static"
_SERVED_FILES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}

_DOCS_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="docs"></div><script src="docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({{url: "openapi.json", dom_id: "#docs", validatorUrl: null}});</script></body></html>
"""
_ONLY_OWN_ORIGIN = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""For the page: whatever Swagger UI may try, the browser asks nobody else."""


def create_api_app(
    api: Api,
    endpoints: Sequence[Endpoint],
    settings: ProcessSettings,
    *,
    cors_origins: Sequence[str] = (),
    beside: web.Application | None = None,
) -> web.Application:
    """Make the application of a table of calls, in the frame that every service has.

    That of administration is served `beside` another one of the same process, whose metrics count both. Pages of
    `cors_origins` may call it from a browser.
    """
    connections = DEFAULT_BOUNDS.connections if beside is None else ADMIN_CONNECTIONS
    app = create_web_app(
        render_error=api.render_error,
        body_limit_bytes=api.body_limit_bytes,
        bounds=HttpBounds(idle_seconds=settings.keep_alive_seconds, connections=connections),
        metrics=None if beside is None else beside[METRICS],
        cors_origins=cors_origins,
    )
    if api.refuses_unknown_query:
        app.middlewares.append(known_query_middleware(endpoints))
    add_endpoints(app, endpoints, api)
    return app


def add_endpoints(app: web.Application, endpoints: Sequence[Endpoint], api: Api) -> None:
    """Route every endpoint of the table, and serve its OpenAPI 3.1 document and a page that renders it offline."""
    for endpoint in endpoints:
        app.router.add_route(endpoint.method, take_any_id(endpoint.path), endpoint.handler)
    make_document: Callable[[], bytes] = cache(lambda: orjson.dumps(describe(endpoints, api)))
    page = _DOCS_PAGE.format(title=api.title)
    app[DOCUMENT] = make_document
    places = {"docs": "/docs", "openapi": "/openapi.json"}
    index = api.render_index({"title": api.title, "version": api.version, **places})

    async def show_index(_: web.Request) -> web.Response:
        return JsonResponse(index)

    async def show_document(_: web.Request) -> web.Response:
        # Beside the loop: a tenth of a second, in which others are to be answered.
        return web.Response(body=await asyncio.to_thread(make_document), content_type="application/json")

    async def show_page(_: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": _ONLY_OWN_ORIGIN}
        return web.Response(text=page, content_type="text/html", headers=headers)

    async def show_file(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in _SERVED_FILES:
            raise web.HTTPNotFound
        return web.FileResponse(_SWAGGER_FILES / name, headers={"Content-Type": _SERVED_FILES[name]})

    app.router.add_get("/", show_index)
    app.router.add_get("/openapi.json", show_document)
    app.router.add_get("/docs", show_page)
    app.router.add_get("/docs/{name}", show_file)
