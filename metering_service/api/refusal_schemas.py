"""The wire's shapes of refusals."""

from marshmallow import Schema, fields

from metering_service.api.event_schemas import ReceiptSchema


class RefusalSchema(Schema):
    """Refusals of one kind in one minute, with the receipts of the first and the last."""

    minute = fields.DateTime(required=True)
    event_type = fields.String(data_key="eventType", required=True)
    code = fields.String(required=True)
    limit = fields.String(
        required=True, allow_none=True, metadata={"description": "The rate or the quota that refused, by its name."}
    )
    user_id = fields.String(
        data_key="userId",
        required=True,
        allow_none=True,
        metadata={"description": "Null: without a user, or one beyond the first 100 of the minute."},
    )
    count = fields.Integer(required=True)
    first_at = fields.DateTime(data_key="firstAt", required=True)
    last_at = fields.DateTime(data_key="lastAt", required=True)
    first_receipt = fields.Nested(ReceiptSchema, data_key="firstReceipt", required=True)
    last_receipt = fields.Nested(ReceiptSchema, data_key="lastReceipt", required=True)


class RefusalsSchema(Schema):
    """Refusals, newest first."""

    refusals = fields.List(fields.Nested(RefusalSchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)
