"""The wire's shapes of what was decided about a client's events."""

from marshmallow import Schema, fields, validate

from metering_service.api.event_schemas import ReceiptSchema


class DecisionLineSchema(Schema):
    """One charge, or the refusals of one kind in one minute."""

    kind = fields.String(required=True, validate=validate.OneOf(["charge", "refusal"]))
    at = fields.DateTime(
        required=True, metadata={"description": "When it was charged; of refusals the last one of the minute."}
    )
    event_type = fields.String(data_key="eventType", required=True)
    user_id = fields.String(data_key="userId", required=True, allow_none=True)
    receipt = fields.Nested(ReceiptSchema, required=True)
    event_id = fields.String(data_key="eventId", metadata={"description": "Of a charge."})
    units = fields.Integer(metadata={"description": "Of a charge."})
    credits = fields.Integer(metadata={"description": "Of a charge."})
    late = fields.Boolean(metadata={"description": "Of a charge: made without a hold."})
    code = fields.String(metadata={"description": "Of a refusal."})
    limit = fields.String(
        allow_none=True, metadata={"description": "Of a refusal: the rate or quota, null where it was neither."}
    )
    count = fields.Integer(metadata={"description": "Of a refusal: how many there were in the minute."})
    first_at = fields.DateTime(data_key="firstAt", metadata={"description": "Of a refusal."})
    first_receipt = fields.Nested(ReceiptSchema, data_key="firstReceipt")


class DecisionLinesSchema(Schema):
    """Charges and refusals, newest first."""

    decisions = fields.List(fields.Nested(DecisionLineSchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)
