"""How responses are written: every one in the envelope `{"statusCode", "data", "message"}`, errors too."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from aiohttp import web
from marshmallow import Schema, fields

from catalog_service.api.plan_schemas import PlanSchema
from catalog_service.plans.encoded import EncodedPlans
from catalog_service.plans.plan import Plan
from service_chassis.errors import ServiceError
from service_chassis.http.json_response import JsonResponse
from service_chassis.openapi.endpoint import Success
from service_chassis.schema.dump import compile_dump, encode_json

OKAY = "OKAY"
UNEXPECTED = "An unexpected error occurred. Please try again."
"""All that a caller learns of a fault."""

_PLAIN = {"Vary": "Accept-Encoding"}
_GZIPPED = {**_PLAIN, "Content-Encoding": "gzip"}
_MOST_DETAILS = 10
"""Fields named in one message; an array of many wrong elements has as many details."""

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
