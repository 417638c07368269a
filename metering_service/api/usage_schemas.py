"""The wire's shapes of usage."""

from marshmallow import Schema, fields


class UsageSumSchema(Schema):
    """Charges and refusals of one event type, or charges of one user, in one day or month, told as its first day."""

    window = fields.Date(required=True)
    event_type = fields.String(data_key="eventType")
    user_id = fields.String(data_key="userId", allow_none=True)
    charged = fields.Integer(required=True)
    units = fields.Integer(required=True)
    credits = fields.Integer(required=True)
    overage = fields.Integer(metadata={"description": "Above the limits of quotas, in what each of them counts."})
    refused = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        metadata={"description": "How many events were refused, by code; those of the last second may be missing."},
    )
    last_at = fields.DateTime(
        data_key="lastAt", required=True, metadata={"description": "Of the last charge or refusal."}
    )


class UsageSchema(Schema):
    """Sums of a client's charges and refusals. `final`: the days are over, and nothing of them is held any more."""

    client_id = fields.String(data_key="clientId", required=True)
    from_day = fields.Date(data_key="from", required=True)
    to_day = fields.Date(data_key="to", required=True)
    final = fields.Boolean(required=True)
    usage = fields.List(fields.Nested(UsageSumSchema), required=True)
