"""The wire's shapes of usage."""

from marshmallow import Schema, fields


class UsageSumSchema(Schema):
    """Charges of one event type, or of one user, in one day or month, which is told as its first day."""

    window = fields.Date(required=True)
    event_type = fields.String(data_key="eventType")
    user_id = fields.String(data_key="userId", allow_none=True)
    charged = fields.Integer(required=True)
    units = fields.Integer(required=True)
    credits = fields.Integer(required=True)
    overage = fields.Integer(metadata={"description": "Above the limits of quotas, in what each of them counts."})


class UsageSchema(Schema):
    """Sums of a client's charges. `final`: the days are over, and nothing of them is held any more."""

    client_id = fields.String(data_key="clientId", required=True)
    from_day = fields.Date(data_key="from", required=True)
    to_day = fields.Date(data_key="to", required=True)
    final = fields.Boolean(required=True)
    usage = fields.List(fields.Nested(UsageSumSchema), required=True)
