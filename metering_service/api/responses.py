"""How this API answers: errors, pages, and what the calls have in common."""

import re
from typing import Any

from aiohttp import web

from metering_service.api.schemas import ErrorResponse
from service_chassis.errors import Forbidden, InvalidRequest, NotFound, ServiceError, Unauthorized
from service_chassis.http.json_response import JsonAnswer
from service_chassis.openapi.endpoint import STRICT_JSON, Api, Refusal, path, query
from service_chassis.schema.dump import encode_json

MAX_PAGE = 1000
DEFAULT_PAGE = 100

MAX_IDENTIFIER = 255
WRONG_IDENTIFIER = f"Must be 1 to {MAX_IDENTIFIER} printable characters."

PAGE_PARAMETERS = (
    query("limit", "Entries in a page.", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}),
    query("cursor", "The `nextCursor` of the page before."),
)


def answer(document: Any, status: int = 200) -> web.Response:
    """Answer a document as JSON."""
    return JsonAnswer(encode_json(document), status)


def render_error(error: ServiceError) -> web.Response:
    """Render an error in this API's shape."""
    document: dict[str, Any] = {"error": error.message, "code": error.code}
    if error.details:
        document["details"] = [{"field": detail.field, "message": detail.message} for detail in error.details]
    return answer(document, error.status)


API = Api(
    title="Metering",
    version="1.0.0",
    description=(
        "Grants or denies billable events by each client's policy, and keeps the ledger. Internal.\n\n"
        f"{STRICT_JSON} Unknown fields are refused, unknown query parameters ignored. An unknown path is answered "
        '404, another method 405 with `Allow`, both as `{"error", "code"}`.'
    ),
    tags={
        "events": "Decisions about billable events, and what became of them.",
        "policies": "Terms, and which client has which.",
        "accounts": "Credits: grants, adjustments, balance, quota, ledger and charges.",
    },
    bearer={"description": "A service key, of the scope that the call names.", "bearerFormat": "key"},
    render_error=render_error,
    error_schema=lambda _: ErrorResponse,
    body_limit="1 MiB",
)


def refuse_callers(*scopes: str) -> list[Refusal]:
    """Describe the refusals of calls without a key of one of `scopes`."""
    return [
        Refusal("No service key, or an unknown one.", Unauthorized(headers={"WWW-Authenticate": "Bearer"})),
        Refusal("The key has another scope.", Forbidden(f"This call needs a key of scope {' or '.join(scopes)}")),
    ]


def refuse_field(field: str, message: str) -> Refusal:
    """Describe the refusal of a request with a wrong field, for example `field`."""
    return Refusal("The request is wrong; `details` names the fields.", InvalidRequest.field(field, message))


def refuse_unknown(message: str) -> Refusal:
    """Describe the refusal of a request about something that is not there."""
    return Refusal("There is no such thing.", NotFound(message))


WRONG_PAGE = refuse_field("limit", f"Must be a whole number from 1 to {MAX_PAGE}.")


def identifier(name: str, description: str) -> dict[str, Any]:
    """Describe an id in the path that `read_identifier` reads."""
    return path(
        name, f"{description} Printable characters.", {"type": "string", "minLength": 1, "maxLength": MAX_IDENTIFIER}
    )


def read_identifier(request: web.Request, name: str) -> str:
    """Read an id from the path. Raises InvalidRequest when it is too long or cannot be stored."""
    value = request.match_info[name]
    if not is_identifier(value):
        raise InvalidRequest.field(name, WRONG_IDENTIFIER)
    return value


def is_identifier(text: str) -> bool:
    """Tell whether `text` can be an id."""
    return 1 <= len(text) <= MAX_IDENTIFIER and text.isprintable()


def read_limit(request: web.Request) -> int:
    """Read the page's size. Raises InvalidRequest."""
    return read_whole(request, "limit", default=DEFAULT_PAGE, least=1, most=MAX_PAGE)


_WHOLE = re.compile(r"0|[1-9][0-9]{0,9}")


def read_whole(request: web.Request, name: str, *, default: int, least: int, most: int) -> int:
    """Read a whole number from the query. Raises InvalidRequest naming it."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (_WHOLE.fullmatch(text) and least <= int(text) <= most):
        raise InvalidRequest.field(name, f"Must be a whole number from {least} to {most}.")
    return int(text)
