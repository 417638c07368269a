"""The wire's shapes of charges."""

from marshmallow import Schema, fields


class ChargeSchema(Schema):
    """One charged event. `credits` is signed as in the ledger: negative, or 0 for a free event."""

    event_id = fields.String(data_key="eventId", required=True)
    hold_id = fields.UUID(data_key="holdId", required=True)
    client_id = fields.String(data_key="clientId", required=True)
    event_type = fields.String(data_key="eventType", required=True)
    units = fields.Integer(required=True)
    credits = fields.Integer(required=True)
    late = fields.Boolean(required=True)
    at = fields.DateTime(required=True)


class ChargesSchema(Schema):
    """Charges, by event id."""

    charges = fields.List(fields.Nested(ChargeSchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)
