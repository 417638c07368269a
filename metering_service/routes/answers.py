"""How this API answers: errors, pages, and what the calls have in common."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from metering_service.schemas import ErrorResponse
from service_chassis.errors import InvalidRequest, ServiceError
from service_chassis.openapi import Answer, query
from service_chassis.schema_dump import encode_json

MAX_PAGE = 1000
DEFAULT_PAGE = 100

COMMON_ANSWERS: Mapping[int, Answer] = {
    400: Answer("The request is wrong; `details` names the fields.", ErrorResponse),
    401: Answer("No key, or an unknown one.", ErrorResponse, headers={"WWW-Authenticate": "Bearer"}),
    403: Answer("The key has another scope.", ErrorResponse),
    413: Answer("The body is larger than 1 MB.", ErrorResponse),
    415: Answer("The body is not application/json.", ErrorResponse),
    500: Answer("A fault; nothing is known to have changed.", ErrorResponse),
}

PAGE_PARAMETERS = (
    query("limit", "Entries in a page.", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}),
    query("cursor", "The `nextCursor` of the page before."),
)


def answer(document: Any, status: int = 200) -> web.Response:
    """Answer a document as JSON."""
    return web.Response(body=encode_json(document), status=status, content_type="application/json")


def render_error(error: ServiceError) -> web.Response:
    """Render an error in this API's shape."""
    document: dict[str, Any] = {"error": error.message, "code": error.code}
    if error.details:
        document["details"] = [{"field": detail.field, "message": detail.message} for detail in error.details]
    return answer(document, error.status)


def read_limit(request: web.Request) -> int:
    """Read the page's size. Raises InvalidRequest."""
    return read_whole(request, "limit", default=DEFAULT_PAGE, least=1, most=MAX_PAGE)


def read_whole(request: web.Request, name: str, *, default: int, least: int, most: int) -> int:
    """Read a whole number from the query. Raises InvalidRequest naming it."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most):
        raise InvalidRequest.field(name, f"Must be a whole number from {least} to {most}.")
    return int(text)
