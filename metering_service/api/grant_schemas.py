"""The wire's shapes of what a client is given: grants, recurring grants, refunds, adjustments."""

from typing import Any

from marshmallow import Schema, ValidationError, fields

from metering_service.accounts.grant import DEFAULT_PRIORITY, MAX_PRIORITY
from metering_service.policies.policy import MAX_GRANT_CREDITS, MAX_NOTE_CHARACTERS, WRONG_NOTE, is_note
from metering_service.policies.schema import identifier
from service_chassis.schema.fields import ClosedSchema, StrictBoolean, UtcDateTime, integer, length, one_of

CREATE = StrictBoolean(
    load_default=False, metadata={"description": "Also for a client that metering has never heard of."}
)
_PRIORITY = {"description": "Whose is lower is drawn first."}


def _require_note(value: str) -> None:
    """Raise ValidationError for what holds more than printable characters and line ends."""
    if value and not is_note(value[:MAX_NOTE_CHARACTERS]):
        raise ValidationError(WRONG_NOTE)


def _note(shortest: int | None = 1, **options: Any) -> fields.String:
    return fields.String(validate=[length(shortest, MAX_NOTE_CHARACTERS), _require_note], **options)


class CreateGrantSchema(ClosedSchema):
    """Credits for a client, once per grantId."""

    grant_id = identifier(data_key="grantId", required=True)
    credits = integer(1, MAX_GRANT_CREDITS, required=True)
    effective_at = UtcDateTime(
        data_key="effectiveAt", load_default=None, allow_none=True, metadata={"description": "Without, now."}
    )
    expires_at = UtcDateTime(
        data_key="expiresAt", load_default=None, allow_none=True, metadata={"description": "Without, never."}
    )
    priority = integer(0, MAX_PRIORITY, load_default=DEFAULT_PRIORITY, metadata=_PRIORITY)
    source = identifier(load_default=None, allow_none=True)
    note = _note(None, load_default=None, allow_none=True)
    create = CREATE


class GrantTermsSchema(Schema):
    """What a grant is."""

    grant_id = fields.String(data_key="grantId", required=True)
    credits = fields.Integer(required=True)
    effective_at = fields.DateTime(data_key="effectiveAt", required=True)
    expires_at = fields.DateTime(data_key="expiresAt", allow_none=True, required=True)
    priority = fields.Integer(required=True, metadata=_PRIORITY)
    source = fields.String(allow_none=True, required=True)
    note = fields.String(allow_none=True, required=True)


class GrantSchema(GrantTermsSchema):
    """A grant as it was given."""

    client_id = fields.String(data_key="clientId", required=True)
    at = fields.DateTime(required=True, metadata={"description": "When it was given."})


class VoidGrantSchema(ClosedSchema):
    """Why what is left of a grant is taken."""

    reason = _note(required=True)


class VoidedGrantSchema(Schema):
    """What became of a voided grant."""

    client_id = fields.String(data_key="clientId", required=True)
    grant_id = fields.String(data_key="grantId", required=True)
    voided = fields.Integer(required=True, metadata={"description": "Credits that nobody can spend any more."})
    held = fields.Integer(required=True, metadata={"description": "Credits that live holds may still spend."})


class RolloverSchema(ClosedSchema):
    """How much of what is left of a period goes over into the next one."""

    max = integer(1, MAX_GRANT_CREDITS, required=True)


class PutRecurringGrantSchema(ClosedSchema):
    """Credits for each period that begins from startsAt on and before endsAt."""

    credits = integer(1, MAX_GRANT_CREDITS, required=True)
    every = fields.String(required=True, validate=one_of("day", "week", "month", "year"))
    starts_at = UtcDateTime(
        data_key="startsAt",
        required=True,
        metadata={"description": "In the past: it begins with the period under way."},
    )
    ends_at = UtcDateTime(data_key="endsAt", load_default=None, allow_none=True)
    expires = fields.String(required=True, validate=one_of("period", "never"))
    rollover = fields.Nested(RolloverSchema, load_default=None, allow_none=True)
    priority = integer(0, MAX_PRIORITY, load_default=DEFAULT_PRIORITY, metadata=_PRIORITY)
    create = CREATE


class RecurringGrantSchema(Schema):
    """A recurring grant as it stands."""

    recurring_id = fields.String(data_key="recurringId", required=True)
    credits = fields.Integer(required=True)
    every = fields.String(required=True)
    starts_at = fields.DateTime(data_key="startsAt", required=True)
    ends_at = fields.DateTime(data_key="endsAt", allow_none=True, required=True)
    expires = fields.String(required=True)
    rollover = fields.Nested(RolloverSchema, allow_none=True, required=True)
    priority = fields.Integer(required=True)
    next_at = fields.DateTime(
        data_key="nextAt", allow_none=True, required=True, metadata={"description": "null: no grant follows."}
    )


class RecurringGrantsSchema(Schema):
    """A client's recurring grants, by id."""

    client_id = fields.String(data_key="clientId", required=True)
    recurring_grants = fields.List(fields.Nested(RecurringGrantSchema), data_key="recurringGrants", required=True)


class CreateRefundSchema(ClosedSchema):
    """Credits of a charge to be given back, once per refundId."""

    refund_id = identifier(data_key="refundId", required=True)
    event_id = identifier(data_key="eventId", required=True)
    credits = integer(
        1,
        MAX_GRANT_CREDITS,
        load_default=None,
        allow_none=True,
        metadata={"description": "Without, all that was charged and not refunded yet."},
    )
    reason = _note(required=True)


class RefundSchema(Schema):
    """A refund as it was given."""

    client_id = fields.String(data_key="clientId", required=True)
    refund_id = fields.String(data_key="refundId", required=True)
    event_id = fields.String(data_key="eventId", required=True)
    credits = fields.Integer(required=True)
    reason = fields.String(required=True)
    at = fields.DateTime(required=True)


class CreateAdjustmentSchema(ClosedSchema):
    """A correction, up or down, once per adjustmentId."""

    adjustment_id = identifier(data_key="adjustmentId", required=True)
    credits = integer(-MAX_GRANT_CREDITS, MAX_GRANT_CREDITS, required=True, forbidden=0)
    reason = _note(required=True)
    create = CREATE
