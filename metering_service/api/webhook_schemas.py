"""The wire's shapes of notices and of the webhooks that tell them."""

from marshmallow import Schema, fields

from metering_service.notices.notice import SOURCE, TYPES, State
from service_chassis.schema.fields import ClosedSchema, text

_MAX_RECEIVER_CHARACTERS = 64


class EventSchema(Schema):
    """A notice as it is sent: a CloudEvents 1.0 event. What `data` has follows from `type`."""

    specversion = fields.String(required=True, metadata={"enum": ["1.0"]})
    id = fields.UUID(
        required=True, metadata={"description": "The notice's id, and the `webhook-id` of each attempt."}
    )
    source = fields.String(required=True, metadata={"enum": [SOURCE]})
    type = fields.String(required=True, metadata={"enum": list(TYPES.values())})
    time = fields.DateTime(required=True)
    subject = fields.String(required=True, metadata={"description": "The client's id."})
    datacontenttype = fields.String(required=True, metadata={"enum": ["application/json"]})
    data = fields.Dict(required=True)


class WebhookSchema(Schema):
    """A notice on its way to a receiver."""

    notice_id = fields.UUID(data_key="noticeId", required=True)
    at = fields.DateTime(required=True)
    client_id = fields.String(data_key="clientId", required=True)
    type = fields.String(required=True)
    receiver = fields.String(
        required=True, allow_none=True, metadata={"description": "Null: none was configured when it was written."}
    )
    state = fields.String(required=True, metadata={"enum": list(State)})
    attempts = fields.Integer(required=True, metadata={"description": "Those that failed."})
    next_attempt_at = fields.DateTime(data_key="nextAttemptAt", required=True, allow_none=True)
    last_error = fields.String(data_key="lastError", required=True, allow_none=True)
    delivered_at = fields.DateTime(data_key="deliveredAt", required=True, allow_none=True)
    dead_at = fields.DateTime(data_key="deadAt", required=True, allow_none=True)
    event = fields.Nested(EventSchema, required=True)


class WebhooksSchema(Schema):
    """Webhooks, newest first."""

    webhooks = fields.List(fields.Nested(WebhookSchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)


class ReplaySchema(ClosedSchema):
    """To whom a notice is sent again."""

    receiver = text(
        _MAX_RECEIVER_CHARACTERS,
        load_default=None,
        allow_none=True,
        metadata={"description": "Its name in METERING_WEBHOOKS; without, all."},
    )


class ReplayedSchema(Schema):
    """To whom a notice is sent again."""

    notice_id = fields.UUID(data_key="noticeId", required=True)
    receivers = fields.List(fields.String(), required=True)
