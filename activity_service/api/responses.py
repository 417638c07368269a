"""How responses are written: plan plays, lists of them, and errors."""

from collections.abc import Mapping, Sequence

from aiohttp import web
from marshmallow import Schema, fields, validate

from activity_service.api.plan_play_schemas import PlanPlaySchema
from activity_service.plays.create import Created
from activity_service.plays.plan_play import PlanPlay
from metering_client.errors import SENTENCES, EventRefused
from metering_client.limits import Limit, as_headers
from service_chassis.errors import ServiceError
from service_chassis.http.json_response import JsonResponse
from service_chassis.schema.dump import compile_dump, encode_json

_REPLAYED = {"Idempotency-Replayed": "true"}

_dump = compile_dump(PlanPlaySchema())


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


def encode_play(play: PlanPlay) -> bytes:
    """Write the body of a response about one play."""
    return encode_json({"data": _dump(play)})


def encode_elements(plays: Sequence[PlanPlay]) -> bytes:
    """Write plays as they stand between the brackets of a list."""
    return encode_json([_dump(play) for play in plays])[1:-1]


def respond_play(play: PlanPlay, limits: Sequence[Limit] = ()) -> web.Response:
    """Make the response about one play, with what is left of the client's limits."""
    return JsonResponse(encode_play(play), headers=as_headers(limits))


def respond_created(created: Created) -> web.Response:
    """Make the response about a play that was created, now or by an earlier request with the same key."""
    headers = _REPLAYED if created.replayed else as_headers(created.limits)
    return JsonResponse(encode_play(created.play), 201, headers=headers)


def respond_list(plays: Sequence[PlanPlay], **more: str | None) -> web.Response:
    """Make the response of a list, whole or, with `nextCursor`, a page of one."""
    return JsonResponse(encode_json({"data": [_dump(play) for play in plays], "count": len(plays), **more}))


def render_error(error: ServiceError) -> web.Response:
    """Make the response of an error: a sentence, with details for a 400, and what to do for a 429."""
    document: dict[str, object] = {"error": error.message}
    if error.status == 400:
        document["details"] = [{"field": detail.field, "message": detail.message} for detail in error.details]
    if isinstance(error, EventRefused):
        document |= {"code": error.code, "retryAfterSeconds": error.retry_after_seconds}
    return JsonResponse(encode_json(document), error.status)
