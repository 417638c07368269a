"""How responses are written that are about no plan play: errors, and where things are."""

from collections.abc import Mapping

from aiohttp import web
from marshmallow import Schema, fields, validate

from metering_client.errors import SENTENCES, EventRefused
from service_chassis.errors import ServiceError
from service_chassis.http.json_response import JsonResponse
from service_chassis.schema.dump import encode_json


class ErrorSchema(Schema):
    """What went wrong, in a sentence."""

    error = fields.String(required=True)


class FieldFaultSchema(Schema):
    """What is wrong with one field, parameter or header."""

    field = fields.String(required=True)
    message = fields.String(required=True)


class InvalidRequestSchema(ErrorSchema):
    """A request that cannot be accepted, and why."""

    details = fields.List(fields.Nested(FieldFaultSchema), required=True)


class RefusalSchema(ErrorSchema):
    """A refusal by the client's policy. `retryAfterSeconds` is null when waiting does not help."""

    code = fields.String(required=True, validate=validate.OneOf(list(SENTENCES)))
    retry_after_seconds = fields.Integer(data_key="retryAfterSeconds", required=True, allow_none=True)


def render_index(found: Mapping[str, str]) -> bytes:
    """Write the body of what says where things are."""
    return encode_json({"data": found})


def render_error(error: ServiceError) -> web.Response:
    """Make the response of an error: a sentence, with details for a 400, and what to do for a 429."""
    document: dict[str, object] = {"error": error.message}
    if error.status == 400:
        document["details"] = [{"field": detail.field, "message": detail.message} for detail in error.details]
    if isinstance(error, EventRefused):
        document |= {"code": error.code, "retryAfterSeconds": error.retry_after_seconds}
    return JsonResponse(encode_json(document), error.status)
