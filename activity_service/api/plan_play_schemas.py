"""The wire's shapes of plan plays, and the responses about them.

`PlanPlaySchema` is the only definition of what a play looks like outside.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from aiohttp import web
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from activity_service.plays.create import Created
from activity_service.plays.plan_play import STATUSES, PlanPlay
from metering_client.limits import Limit, as_headers
from service_chassis.http.json_response import JsonResponse
from service_chassis.http.stream import send_stream
from service_chassis.schema.dump import compile_dump, encode_json
from service_chassis.schema.fields import (
    BoundedList,
    ClosedSchema,
    UtcDateTime,
    count,
    email_address,
    integer,
    one_of,
    text,
    web_address,
)

MAX_NAME_CHARACTERS = 255
MAX_LIST_ITEMS = 1000
MAX_INTEGER = 2**31 - 1


def _text_list(data_key: str) -> BoundedList:
    return BoundedList(
        text(MAX_NAME_CHARACTERS), validate=count(None, MAX_LIST_ITEMS), data_key=data_key, allow_none=True
    )


def drop_absent(data: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what a body said: null means the same as absent."""
    return {name: value for name, value in data.items() if value is not None}


class NewPlanPlaySchema(ClosedSchema):
    """A plan play to be created."""

    plan_id = text(MAX_NAME_CHARACTERS, data_key="planId", required=True)
    user_id = text(MAX_NAME_CHARACTERS, data_key="userId", allow_none=True)
    planned_lessons = _text_list("plannedLessons")
    email = email_address(allow_none=True)
    display_name = text(MAX_NAME_CHARACTERS, data_key="displayName", allow_none=True)
    photo_url = web_address(data_key="photoURL", allow_none=True)
    assignment_source = text(MAX_NAME_CHARACTERS, data_key="assignmentSource", allow_none=True)
    risk_level = text(MAX_NAME_CHARACTERS, data_key="riskLevel", allow_none=True)


class PlanPlayChangesSchema(ClosedSchema):
    """Fields of a plan play to be changed; at least one."""

    json_schema = {"not": {"additionalProperties": {"type": "null"}}}  # noqa: RUF012 - `_require_a_change`
    error_messages = {"unknown": "Unknown field, or one that cannot be changed."}  # noqa: RUF012 - marshmallow's way

    status = fields.String(validate=one_of(*STATUSES), allow_none=True)
    current_lesson_index = integer(0, MAX_INTEGER, data_key="currentLessonIndex", allow_none=True)
    completed_lessons = _text_list("completedLessons")
    completed_lesson_plays = _text_list("completedLessonPlays")
    total_lessons_completed = integer(0, MAX_INTEGER, data_key="totalLessonsCompleted", allow_none=True)
    completed_at = UtcDateTime(data_key="completedAt", allow_none=True)
    last_played_at = UtcDateTime(data_key="lastPlayedAt", allow_none=True)

    @validates_schema
    def _require_a_change(self, data: dict[str, Any], **_: Any) -> None:
        if all(value is None for value in data.values()):
            raise ValidationError("Must change at least one field.", "body")


class PlanPlaySchema(Schema):
    """A plan play, as it is in responses."""

    id = fields.UUID(required=True)
    plan_id = fields.String(data_key="planId", required=True)
    client_id = fields.String(data_key="clientId", required=True)
    user_id = fields.String(data_key="userId", required=True, allow_none=True)
    status = fields.String(validate=validate.OneOf(STATUSES), required=True)
    planned_lessons = fields.List(fields.String(), data_key="plannedLessons", required=True)
    current_lesson_index = fields.Integer(data_key="currentLessonIndex", required=True)
    completed_lessons = fields.List(fields.String(), data_key="completedLessons", required=True)
    completed_lesson_plays = fields.List(fields.String(), data_key="completedLessonPlays", required=True)
    total_lessons_completed = fields.Integer(data_key="totalLessonsCompleted", required=True)
    email = fields.String(required=True, allow_none=True)
    display_name = fields.String(data_key="displayName", required=True, allow_none=True)
    photo_url = fields.String(data_key="photoURL", required=True, allow_none=True)
    assignment_source = fields.String(data_key="assignmentSource", required=True, allow_none=True)
    risk_level = fields.String(data_key="riskLevel", required=True, allow_none=True)
    created_at = fields.DateTime(data_key="createdAt", required=True)
    updated_at = fields.DateTime(data_key="updatedAt", required=True)
    last_played_at = fields.DateTime(data_key="lastPlayedAt", required=True, allow_none=True)
    completed_at = fields.DateTime(data_key="completedAt", required=True, allow_none=True)


class OnePlanPlaySchema(Schema):
    """One plan play."""

    data = fields.Nested(PlanPlaySchema, required=True)


class PlanPlayListSchema(Schema):
    """Plan plays, newest first. `nextCursor` is there when `limit` was asked for; null on the last page."""

    data = fields.List(fields.Nested(PlanPlaySchema), required=True)
    count = fields.Integer(required=True, metadata={"description": "Length of `data`."})
    next_cursor = fields.String(data_key="nextCursor", allow_none=True)


Batch = Sequence[PlanPlay]

_REPLAYED = {"Idempotency-Replayed": "true"}

_dump = compile_dump(PlanPlaySchema())


def respond_play(play: PlanPlay, limits: Sequence[Limit] = ()) -> web.Response:
    """Make the response about one play, with what is left of the client's limits."""
    return JsonResponse(encode_json({"data": _dump(play)}), headers=as_headers(limits))


def respond_created(created: Created) -> web.Response:
    """Make the response about a play that was created, now or by an earlier request with the same key."""
    headers = _REPLAYED if created.replayed else as_headers(created.limits)
    return JsonResponse(encode_json({"data": _dump(created.play)}), 201, headers=headers)


def respond_list(plays: Sequence[PlanPlay], **more: str | None) -> web.Response:
    """Make the response of a list, whole or, with `nextCursor`, a page of one."""
    return JsonResponse(encode_json({"data": [_dump(play) for play in plays], "count": len(plays), **more}))


async def read_ahead(plays: AsyncGenerator[Batch, None]) -> Sequence[Batch]:
    """Return the first batch of `plays` and the second, if there is one: what shows whether the list is long."""
    begun = [await anext(plays)]
    async for batch in plays:
        return [*begun, batch]
    return begun


async def send_list(
    request: web.Request, begun: Sequence[Batch], rest: AsyncGenerator[Batch, None]
) -> web.StreamResponse:
    """Send what `read_ahead` returned and the `rest`: in one piece when one batch is all, else as they are read."""
    async with aclosing(rest):
        if len(begun) == 1:
            return respond_list(begun[0])
        return await send_stream(request, _encode(begun, rest), {"Content-Type": "application/json"})


def _encode_elements(plays: Sequence[PlanPlay]) -> bytes:
    """Write plays as they stand between the brackets of a list."""
    return encode_json([_dump(play) for play in plays])[1:-1]


async def _encode(begun: Sequence[Batch], rest: AsyncGenerator[Batch, None]) -> AsyncGenerator[bytes, None]:
    count = 0
    opening = b'{"data":['
    for batch in begun:
        yield opening + _encode_elements(batch)
        opening = b","
        count += len(batch)
    async for batch in rest:
        yield opening + _encode_elements(batch)
        count += len(batch)
    yield b'],"count":%d}' % count
