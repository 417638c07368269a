"""How responses are written: documents, errors, pages, and what the calls have in common."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web
from marshmallow import Schema, fields

from metering_service.accounts.ledger_store import LedgerStore
from metering_service.components import COMPONENTS
from metering_service.errors import ClientNotFound
from metering_service.policies.policy import MAX_IDENTIFIER_CHARACTERS, WRONG_IDENTIFIER, is_identifier
from service_chassis.errors import Forbidden, InvalidRequest, NotFound, ServiceError, Unauthorized
from service_chassis.http.cursor import Position, Row, decode_cursor, encode_cursor
from service_chassis.http.json_response import JsonResponse
from service_chassis.openapi.endpoint import Failure, path, query
from service_chassis.schema.dump import encode_json

MAX_PAGE_ENTRIES = 1000
DEFAULT_PAGE_ENTRIES = 100

PAGE_PARAMETERS = (
    query("limit", "Entries in a page.", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_ENTRIES}),
    query("cursor", "The `nextCursor` of the page before."),
)


class FieldFaultSchema(Schema):
    """What is wrong with one field or parameter."""

    field = fields.String(required=True)
    message = fields.String(required=True)


class ErrorSchema(Schema):
    """Why not; `code` stays the same whatever becomes of the sentence."""

    error = fields.String(required=True)
    code = fields.String(required=True)
    details = fields.List(fields.Nested(FieldFaultSchema))


def respond(document: Any, status: int = 200) -> web.Response:
    """Make the response that a JSON document is."""
    return JsonResponse(encode_json(document), status)


def render_error(error: ServiceError) -> web.Response:
    """Make the response of an error."""
    document: dict[str, Any] = {"error": error.message, "code": error.code}
    if error.details:
        document["details"] = [{"field": detail.field, "message": detail.message} for detail in error.details]
    return respond(document, error.status)


def read_identifier(request: web.Request, name: str) -> str:
    """Return an id from the path. Raises InvalidRequest when it is too long or cannot be stored."""
    value = request.match_info[name]
    if not is_identifier(value):
        raise InvalidRequest.field(name, WRONG_IDENTIFIER)
    return value


async def read_known_client(request: web.Request) -> str:
    """Return the client's id from the path. Raises ClientNotFound for one that metering has never heard of."""
    client_id = read_identifier(request, "clientId")
    await LedgerStore(request.app[COMPONENTS].pool).require_known(client_id)
    return client_id


def read_page(
    query: Mapping[str, Any], first: Sequence[Any], *parsers: Callable[[Any], Any]
) -> tuple[int, Sequence[Any]]:
    """Return the size of a page and the position that it begins after, `first` without a cursor.

    `query` is what `read_query` made of PAGE_PARAMETERS, each of `parsers` reads a part of the position. Raises
    InvalidRequest.
    """
    cursor = query["cursor"]
    return query["limit"] or DEFAULT_PAGE_ENTRIES, first if cursor is None else decode_cursor(cursor, *parsers)


def respond_page(
    name: str,
    page: tuple[Sequence[Row], Position | None],
    render: Callable[[Row], Any],
    find_position: Callable[[Position], Sequence[object]],
    **more: Any,
) -> web.Response:
    """Make the response of a page: its rows under `name`, and where the next one begins.

    `page` is rows and what says where they ended, None for the last: of `cut_page`, its last row.
    """
    rows, ended = page
    next_cursor = None if ended is None else encode_cursor(*find_position(ended))
    return respond({**more, name: [render(row) for row in rows], "nextCursor": next_cursor})


def parse_id(value: Any) -> str:
    """Return an id that stands in a cursor. Raises ValueError."""
    if not isinstance(value, str) or len(value) > MAX_IDENTIFIER_CHARACTERS or "\x00" in value:
        raise ValueError
    return value


def describe_identifier(
    name: str, description: str, max_characters: int = MAX_IDENTIFIER_CHARACTERS
) -> dict[str, Any]:
    """Describe an id in the path that `read_identifier` reads."""
    return path(
        name,
        f"{description} Printable characters, and neither `.` nor `..` alone.",
        {"type": "string", "minLength": 1, "maxLength": max_characters},
    )


def describe_refused_keys(*scopes: str) -> list[Failure]:
    """Describe the failures of calls without a key of one of `scopes`."""
    return [
        Failure("No service key, or an unknown one.", Unauthorized(headers={"WWW-Authenticate": "Bearer"})),
        Failure("The key has another scope.", Forbidden(f"This call needs a key of scope {' or '.join(scopes)}")),
    ]


def describe_wrong_field(field: str, message: str) -> Failure:
    """Describe the failure of a request with a wrong field, for example `field`."""
    return Failure("The request is wrong; `details` names the fields.", InvalidRequest.field(field, message))


def describe_missing(error: NotFound) -> Failure:
    """Describe the failure of a request about something that is not there."""
    return Failure("There is no such thing.", error)


CLIENT_ID = describe_identifier("clientId", "The client's id.")
ADMIN_KEY = describe_refused_keys("admin")
UNKNOWN_CLIENT = describe_missing(ClientNotFound("demo"))
WRONG_PAGE = describe_wrong_field("limit", f"Must be an integer from 1 to {MAX_PAGE_ENTRIES}.")
