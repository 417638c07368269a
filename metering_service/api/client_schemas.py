"""The wire's shapes of what a client has and did: balance, quota, ledger."""

from marshmallow import Schema, fields, validate

from metering_service.api.grant_schemas import GrantTermsSchema
from metering_service.policies.schema import QuotaSchema

KINDS = ("grant", "spend", "expire", "void", "refund", "adjust")


class LedgerEntrySchema(Schema):
    """One line of the ledger."""

    entry_id = fields.Integer(data_key="entryId", required=True)
    kind = fields.String(required=True, validate=validate.OneOf(KINDS))
    credits = fields.Integer(required=True, metadata={"description": "Signed: a spend is negative, or 0."})
    event_id = fields.String(data_key="eventId")
    event_type = fields.String(data_key="eventType")
    user_id = fields.String(data_key="userId")
    units = fields.Integer()
    day = fields.Date(metadata={"description": "Of a spend: the UTC day on which the fact happened."})
    at = fields.DateTime(required=True, metadata={"description": "When it took effect."})
    posted_at = fields.DateTime(
        data_key="postedAt", metadata={"description": "When it was written, where that was later."}
    )
    actor = fields.String(metadata={"description": "The name of the service key that it was done with."})
    source = fields.String()
    note = fields.String()
    reference = fields.String(metadata={"description": "The grantId, refundId or adjustmentId."})
    late = fields.Boolean()


class LedgerSchema(Schema):
    """Entries, oldest first."""

    entries = fields.List(fields.Nested(LedgerEntrySchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)


class ExpirySchema(Schema):
    """What expires next."""

    credits = fields.Integer(required=True)
    at = fields.DateTime(required=True)


class OpenGrantSchema(GrantTermsSchema):
    """A grant that is effective or booked."""

    kind = fields.String(required=True, validate=validate.OneOf(["grant", "refund", "adjust"]))
    state = fields.String(required=True, validate=validate.OneOf(["booked", "live"]))
    left = fields.Integer(required=True, metadata={"description": "What no charge and no hold has taken of it."})


class BalanceSchema(Schema):
    """Credits, integers, read at one moment: granted + adjusted = spent + held + expired + available."""

    client_id = fields.String(data_key="clientId", required=True)
    granted = fields.Integer(required=True, metadata={"description": "Grants that became effective, and refunds."})
    adjusted = fields.Integer(required=True)
    spent = fields.Integer(required=True)
    expired = fields.Integer(
        required=True, metadata={"description": "What was left of ended grants, voided ones too."}
    )
    held = fields.Integer(required=True)
    available = fields.Integer(required=True)
    expiring_next = fields.Nested(ExpirySchema, data_key="expiringNext", allow_none=True, required=True)
    grants = fields.List(
        fields.Nested(OpenGrantSchema), required=True, metadata={"description": "In the order they are drawn in."}
    )


class QuotaUseSchema(QuotaSchema):
    """A quota in its present period: what is charged and what is held, in what it counts."""

    starts_at = fields.DateTime(data_key="startsAt", required=True)
    used = fields.Integer(required=True)
    held = fields.Integer(required=True)
    resets_at = fields.DateTime(data_key="resetsAt", required=True)


class QuotasSchema(Schema):
    """The quotas of a client's policy."""

    client_id = fields.String(data_key="clientId", required=True)
    quotas = fields.List(fields.Nested(QuotaUseSchema), required=True)
