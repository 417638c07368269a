"""Holds every answer that any test gets from any of the services against the service's own document.

A pytest plugin: every application with a document is given a middleware outside of its own ones. What it finds
fails the test during which it was said, whatever that test looked at.

A document is made once per table of calls: it is nearly all of what making an application takes.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jsonschema_rs
import orjson
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service_chassis.openapi import pages
from service_chassis.openapi.document import describe
from service_chassis.openapi.endpoint import Api, Endpoint
from service_chassis.openapi.pages import DOCUMENT
from tests.openapi.documents import DescribedAnswer, read_answers

LARGEST_BODY_BYTES = 256 * 1024
"""Longer ones are lists of what shorter ones hold."""

_found: list[str] = []
_read: dict[bytes, dict[tuple[str, str, int], DescribedAnswer]] = {}


@pytest.fixture(scope="session", autouse=True)
def hold_traffic() -> Iterator[None]:
    """Give each application that is started the middleware, and each table of calls one document."""
    start = web.Application.pre_freeze

    def pre_freeze(app: web.Application) -> None:
        if DOCUMENT in app and not app.pre_frozen:
            app.middlewares.insert(0, _hold(app[DOCUMENT]()))
        start(app)

    described: list[tuple[Sequence[Endpoint], Api, dict[str, Any]]] = []

    def describe_once(endpoints: Sequence[Endpoint], api: Api) -> dict[str, Any]:
        for known, of, document in described:
            if known is endpoints and of is api:
                return document
        described.append((endpoints, api, describe(endpoints, api)))
        return described[-1][-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web.Application, "pre_freeze", pre_freeze)
        patch.setattr(pages, "describe", describe_once)
        yield


@pytest.fixture(autouse=True)
def find_contradictions() -> Iterator[None]:
    """Fail the test when an answer contradicted the document."""
    _found.clear()
    yield
    assert not _found, "\n".join(_found)


def _hold(raw: bytes) -> Middleware:
    if raw not in _read:
        _read[raw] = read_answers(orjson.loads(raw))
    answers = _read[raw]

    @web.middleware
    async def hold(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        resource = request.match_info.route.resource
        if resource is not None and request.match_info.http_exception is None:
            key = request.method, resource.canonical, response.status
            if any(key[:2] == described[:2] for described in answers):
                described = answers.get(key)
                faults = list(_compare(described, response)) if described else ["is not described"]
                _found.extend(f"{' '.join(map(str, key))}: {fault}" for fault in faults)
        return response

    return hold


def _compare(described: DescribedAnswer, response: web.StreamResponse) -> Iterator[str]:
    if response.content_type not in described.content_types:
        yield f"content type {response.content_type}"
    for name, header in described.headers.items():
        # The id is put on when the answer is sent, after all middlewares.
        if header.get("required") and name not in response.headers and name != "X-Request-ID":
            yield f"without {name}"
        if name in response.headers and not jsonschema_rs.is_valid(header["schema"], response.headers[name]):
            yield f"{name}: {response.headers[name]}"
    body = response.body if isinstance(response, web.Response) else None
    if isinstance(body, bytes) and len(body) <= LARGEST_BODY_BYTES and "Content-Encoding" not in response.headers:
        for error in described.body.iter_errors(orjson.loads(body)):
            yield f"at {'/'.join(map(str, error.instance_path))}: {error.message[:200]}"
