"""The wire's shapes of what shadow policies would have refused."""

from marshmallow import Schema, fields


class ShadowRefusalsSchema(Schema):
    """What a policy would have refused of a client on a UTC day for one reason."""

    day = fields.Date(required=True)
    client_id = fields.String(data_key="clientId", required=True)
    code = fields.String(required=True)
    limit = fields.String(
        required=True, allow_none=True, metadata={"description": "The rate or quota; null: neither of them."}
    )
    would_refuse = fields.Integer(data_key="wouldRefuse", required=True)
    credits = fields.Integer(required=True, metadata={"description": "What they were worth by the policy's prices."})


class ShadowReportSchema(Schema):
    """Lines by day, client, code and limit."""

    policy_id = fields.String(data_key="policyId", required=True)
    refusals = fields.List(fields.Nested(ShadowRefusalsSchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)
