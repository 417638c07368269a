"""How responses are written: every one in the envelope `{"statusCode", "data", "message"}`, errors too."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from aiohttp import web
from marshmallow import Schema, fields

from catalog_service.api.plan_schemas import PlanSchema
from catalog_service.clients.client import CLIENT_ID_FORM, check_client_id
from catalog_service.errors import ClientNotFound, InvalidCredentials, TooManyAttempts
from catalog_service.plans.encoded import EncodedPlans
from catalog_service.plans.plan import Plan
from service_chassis.errors import InvalidRequest, ServiceError, Unauthorized
from service_chassis.http.cursor import decode_cursor
from service_chassis.http.json_response import JsonResponse
from service_chassis.openapi.endpoint import Failure, Success, path, query
from service_chassis.schema.dump import compile_dump, encode_json

OKAY = "OKAY"
UNEXPECTED = "An unexpected error occurred. Please try again."
"""All that a caller learns of a fault."""

_PLAIN = {"Vary": "Accept-Encoding"}
_GZIPPED = {**_PLAIN, "Content-Encoding": "gzip"}
_MOST_DETAILS = 10
"""Fields named in one message; an array of many wrong elements has as many details."""

NO_STORE = {"Cache-Control": "no-store"}
"""Of what holds a secret: nobody on the way may keep it."""
_MAX_PAGE_ENTRIES = 1000
_DEFAULT_PAGE_ENTRIES = 100
PAGE_PARAMETERS = (
    query("limit", "Entries in a page.", {"type": "integer", "minimum": 1, "maximum": _MAX_PAGE_ENTRIES}),
    query("cursor", "The `next_cursor` of the page before."),
)

dump_plan = compile_dump(PlanSchema())
"""Returns the dict that a Plan is on the wire, as PlanSchema has it."""


class ErrorSchema(Schema):
    """An envelope that says why not."""

    statusCode = fields.Integer(required=True, metadata={"description": "The HTTP status."})
    data = fields.Dict(required=True, metadata={"maxProperties": 0})
    message = fields.String(required=True)


def respond(data: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    """Make the response of a success."""
    return JsonResponse(_encode(200, data, OKAY), headers=headers)


def render_index(found: Mapping[str, str]) -> bytes:
    """Write the body of what says where things are."""
    return _encode(200, found, OKAY)


def respond_encoded(plans: EncodedPlans) -> web.Response:
    """Make the response of a success from a body that is encoded already."""
    return JsonResponse(plans.body, headers=_GZIPPED if plans.gzipped else _PLAIN)


def encode_plans(plans: Sequence[Plan]) -> bytes:
    """Write the body of a list of plans."""
    return _encode(200, [dump_plan(plan) for plan in plans], OKAY)


def render_error(error: ServiceError) -> web.Response:
    """Make the response of an error; a wrong request's message names the fields."""
    message = error.message
    if error.status >= 500:
        message = UNEXPECTED
    elif error.details:
        message = " ".join(f"{detail.field}: {detail.message}" for detail in error.details[:_MOST_DETAILS])
    return JsonResponse(_encode(error.status, {}, message), error.status)


def _encode(status: int, data: Any, message: str) -> bytes:
    return encode_json({"statusCode": status, "data": data, "message": message})


def read_client_id(request: web.Request) -> str:
    """Return the client's id from the path. Raises InvalidRequest for what can be none."""
    client_id = request.match_info["client_id"]
    check_client_id(client_id)
    return client_id


def read_page(wanted: Mapping[str, Any], first: Any, parser: Callable[[Any], Any]) -> tuple[int, Any]:
    """Return the size of a page and the position that it begins after, `first` without a cursor.

    `wanted` is what `read_query` made of PAGE_PARAMETERS, `parser` reads the position. Raises InvalidRequest.
    """
    [after] = [first] if wanted["cursor"] is None else decode_cursor(wanted["cursor"], parser)
    return wanted["limit"] or _DEFAULT_PAGE_ENTRIES, after


def accepts_gzip(request: web.Request) -> bool:
    """Return whether the caller takes a gzipped response (RFC 9110, 12.5.3)."""
    return _names_gzip(request.headers.get("Accept-Encoding", ""))


@lru_cache(maxsize=256)
def _names_gzip(header: str) -> bool:
    accepted: dict[str, bool] = {}
    for part in header.lower().split(","):
        coding, _, weight = part.replace(" ", "").partition(";")
        accepted[coding] = not (weight.startswith("q=0") and not weight.strip("q=0."))
    return accepted.get("gzip", accepted.get("*", False))


def describe_success(
    description: str, data: Any, example: Any, headers: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[int, Success]:
    """Describe a success by what is in its envelope."""
    envelope = {
        "type": "object",
        "required": ["statusCode", "data", "message"],
        "properties": {
            "statusCode": {"type": "integer", "const": 200},
            "data": data,
            "message": {"type": "string", "const": OKAY},
        },
    }
    body = {"statusCode": 200, "data": example, "message": OKAY}
    return {200: Success(description, envelope, body, headers or {})}


def describe_header(description: str, **schema: Any) -> dict[str, Any]:
    """Describe a header that is always sent."""
    return {"description": description, "required": True, "schema": {"type": "string", **schema}}


def describe_wrong_field(field: str, message: str) -> Failure:
    """Describe the failure of a request with a wrong field, for example `field`."""
    return Failure("Something is not acceptable; the message names the field.", InvalidRequest.field(field, message))


NEVER_KEPT = {"Cache-Control": describe_header("Nobody may keep it.", const="no-store")}
CLIENT_ID = path("client_id", "The client's id.", {"type": "string", "pattern": f"^{CLIENT_ID_FORM.pattern}$"})
WRONG_PAGE = describe_wrong_field("limit", f"Must be an integer from 1 to {_MAX_PAGE_ENTRIES}.")
UNKNOWN_CLIENT = Failure("There is no such client.", ClientNotFound("acm", "acme"))
ADMIN_KEY = Failure("No admin key, or an unknown one.", Unauthorized())
WRONG_CREDENTIALS = (
    Failure("Unknown client, wrong secret, or disabled client.", InvalidCredentials()),
    Failure(
        "As 401, and too often from this address; the right secret is never refused for it.",
        TooManyAttempts(headers={"Retry-After": "2"}),
    ),
)
