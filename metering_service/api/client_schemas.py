"""The wire's shapes of a client's credits: grants, adjustments, balance, quota, ledger."""

from marshmallow import Schema, fields, validate

from metering_service.policies.policy import MAX_GRANT_CREDITS, MAX_IDENTIFIER_CHARACTERS
from service_chassis.schema.fields import ClosedSchema, integer, text

_MAX_NOTE_CHARACTERS = 1000


class CreateGrantSchema(ClosedSchema):
    """Credits for a client, once per grantId."""

    grant_id = text(MAX_IDENTIFIER_CHARACTERS, data_key="grantId", required=True)
    credits = integer(1, MAX_GRANT_CREDITS, required=True)
    source = text(MAX_IDENTIFIER_CHARACTERS, load_default=None, allow_none=True)
    note = text(_MAX_NOTE_CHARACTERS, shortest=None, load_default=None, allow_none=True)


class GrantSchema(CreateGrantSchema):
    """A grant as it stands."""

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


class LedgerEntrySchema(Schema):
    """One line of the ledger."""

    entry_id = fields.Integer(data_key="entryId", required=True)
    kind = fields.String(required=True, validate=validate.OneOf(["grant", "spend", "adjust"]))
    credits = fields.Integer(required=True, metadata={"description": "Signed: a spend is negative, or 0."})
    event_id = fields.String(data_key="eventId")
    event_type = fields.String(data_key="eventType")
    at = fields.DateTime(required=True)
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


class PeriodSchema(Schema):
    """A calendar period, UTC; `end` is not part of it."""

    start = fields.DateTime(required=True)
    end = fields.DateTime(required=True)


class QuotaStateSchema(Schema):
    """The present period's quota; only `limit`, null, where the policy has none."""

    client_id = fields.String(data_key="clientId")
    period = fields.Nested(PeriodSchema)
    limit = fields.Integer(required=True, allow_none=True)
    used = fields.Integer()
    held = fields.Integer()
