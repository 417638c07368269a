"""The wire's shapes: what a body may hold, and how a plan play is written."""

from collections.abc import Mapping
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema

from activity_service.api.fields import Email, Moment, WebAddress, counter, text, text_list
from activity_service.plays.plan_play import STATUSES


class _BodySchema(Schema):
    """A body without unknown fields."""

    class Meta:
        """Marshmallow's options."""

        unknown = RAISE


def drop_absent(data: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what a body said: null means the same as absent."""
    return {name: value for name, value in data.items() if value is not None}


class NewPlanPlaySchema(_BodySchema):
    """A plan play to be created."""

    plan_id = text(data_key="planId", required=True)
    user_id = text(data_key="userId", allow_none=True)
    planned_lessons = text_list(data_key="plannedLessons", allow_none=True)
    email = Email(allow_none=True, metadata={"format": "email", "maxLength": 254})
    display_name = text(data_key="displayName", allow_none=True)
    photo_url = WebAddress(data_key="photoURL", allow_none=True, metadata={"format": "uri", "maxLength": 2048})
    assignment_source = text(data_key="assignmentSource", allow_none=True)
    risk_level = text(data_key="riskLevel", allow_none=True)


class PlanPlayChangesSchema(_BodySchema):
    """Fields of a plan play to be changed; at least one."""

    json_schema = {"not": {"additionalProperties": {"type": "null"}}}  # noqa: RUF012 - `require_a_change`
    error_messages = {"unknown": "Unknown field, or one that cannot be changed."}  # noqa: RUF012 - marshmallow's way

    status = fields.String(validate=validate.OneOf(STATUSES), allow_none=True)
    current_lesson_index = counter(data_key="currentLessonIndex", allow_none=True)
    completed_lessons = text_list(data_key="completedLessons", allow_none=True)
    completed_lesson_plays = text_list(data_key="completedLessonPlays", allow_none=True)
    total_lessons_completed = counter(data_key="totalLessonsCompleted", allow_none=True)
    completed_at = Moment(data_key="completedAt", allow_none=True)
    last_played_at = Moment(data_key="lastPlayedAt", allow_none=True)

    @validates_schema
    def require_a_change(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse a body that changes nothing."""
        if all(value is None for value in data.values()):
            raise ValidationError("Must change at least one field.", "body")


class PlanPlaySchema(Schema):
    """A plan play as it is answered."""

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


class PlanPlayAnswerSchema(Schema):
    """One plan play."""

    data = fields.Nested(PlanPlaySchema, required=True)


class PlanPlayListSchema(Schema):
    """Plan plays, newest first. `nextCursor` is there when `limit` was asked for; null on the last page."""

    data = fields.List(fields.Nested(PlanPlaySchema), required=True)
    count = fields.Integer(required=True, metadata={"description": "Length of `data`."})
    next_cursor = fields.String(data_key="nextCursor", allow_none=True)


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

    code = fields.String(
        required=True,
        validate=validate.OneOf(["api_rate_limited", "api_quota_exceeded", "api_balance_exhausted"]),
    )
    retry_after_seconds = fields.Integer(data_key="retryAfterSeconds", required=True, allow_none=True)
