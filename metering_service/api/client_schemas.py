"""The wire's shapes of a client's credits: grants, adjustments, balance, quota, ledger."""

from marshmallow import Schema, fields, validate

from metering_service.policies.policy import MAX_GRANT_CREDITS, MAX_IDENTIFIER_CHARACTERS
from metering_service.policies.schema import QuotaSchema
from service_chassis.schema.fields import ClosedSchema, StrictBoolean, integer, text

_MAX_NOTE_CHARACTERS = 1000
CREATE = StrictBoolean(
    load_default=False, metadata={"description": "Also for a client that metering has never heard of."}
)


class CreateGrantSchema(ClosedSchema):
    """Credits for a client, once per grantId."""

    grant_id = text(MAX_IDENTIFIER_CHARACTERS, data_key="grantId", required=True)
    credits = integer(1, MAX_GRANT_CREDITS, required=True)
    source = text(MAX_IDENTIFIER_CHARACTERS, load_default=None, allow_none=True)
    note = text(_MAX_NOTE_CHARACTERS, shortest=None, load_default=None, allow_none=True)
    create = CREATE


class GrantSchema(Schema):
    """A grant as it stands."""

    grant_id = fields.String(data_key="grantId", required=True)
    credits = fields.Integer(required=True)
    source = fields.String(allow_none=True, required=True)
    note = fields.String(allow_none=True, required=True)

    client_id = fields.String(data_key="clientId", required=True)
    entry_id = fields.Integer(data_key="entryId", required=True)
    at = fields.DateTime(required=True)


class CreateAdjustmentSchema(ClosedSchema):
    """A correction, up or down, once per adjustmentId."""

    adjustment_id = text(MAX_IDENTIFIER_CHARACTERS, data_key="adjustmentId", required=True)
    credits = fields.Integer(
        strict=True,
        required=True,
        validate=[
            validate.Range(min=-MAX_GRANT_CREDITS, max=MAX_GRANT_CREDITS),
            validate.NoneOf([0], error="Must not be 0."),
        ],
    )
    reason = text(_MAX_NOTE_CHARACTERS, required=True)
    create = CREATE


class LedgerEntrySchema(Schema):
    """One line of the ledger."""

    entry_id = fields.Integer(data_key="entryId", required=True)
    kind = fields.String(required=True, validate=validate.OneOf(["grant", "spend", "adjust"]))
    credits = fields.Integer(required=True, metadata={"description": "Signed: a spend is negative, or 0."})
    event_id = fields.String(data_key="eventId")
    event_type = fields.String(data_key="eventType")
    user_id = fields.String(data_key="userId")
    units = fields.Integer()
    day = fields.Date(metadata={"description": "Of a spend: the UTC day on which the fact happened."})
    at = fields.DateTime(required=True)
    source = fields.String()
    note = fields.String()
    reference = fields.String(metadata={"description": "The grantId or adjustmentId."})
    late = fields.Boolean()


class LedgerSchema(Schema):
    """Entries, oldest first."""

    entries = fields.List(fields.Nested(LedgerEntrySchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)


class BalanceSchema(Schema):
    """Credits, integers, read at one moment: granted = spent + held + available."""

    client_id = fields.String(data_key="clientId", required=True)
    granted = fields.Integer(required=True)
    spent = fields.Integer(required=True)
    held = fields.Integer(required=True)
    available = fields.Integer(required=True)


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
