"""The wire's shapes of the internal API."""

from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema

from metering_service.events.event import MAX_BATCH_EVENTS
from metering_service.policies.policy import MAX_GRANT_CREDITS, MAX_PRICE_CREDITS, MAX_UNITS
from service_chassis.schema.fields import ShortList

IDENTIFIER = validate.Length(min=1, max=255)
# In the dialect that JSON Schema shares with Python, where `$` lets a newline follow: hence the length.
UUID_TEXT = [
    validate.Length(equal=36, error="Must have 36 characters."),
    validate.Regexp(
        "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$", error="Not a valid UUID."
    ),
]


class Whole(fields.Integer):
    """An integer written as one: no text, no fraction, no truth value."""

    def __init__(self, **options: Any) -> None:
        super().__init__(strict=True, **options)

    def _validated(self, value: Any) -> Any:
        if type(value) is not int:
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class BillableEventSchema(Schema):
    """One attempt at one billable event."""

    class Meta:
        """Internal callers are ours: an unknown field is a mistake."""

        unknown = RAISE

    hold_id = fields.String(
        data_key="holdId",
        required=True,
        validate=UUID_TEXT,
        metadata={"format": "uuid", "description": "The attempt: a new UUID each."},
    )
    event_id = fields.String(
        data_key="eventId", required=True, validate=IDENTIFIER, metadata={"description": "The fact."}
    )
    client_id = fields.String(data_key="clientId", required=True, validate=IDENTIFIER)
    event_type = fields.String(data_key="eventType", required=True, validate=IDENTIFIER)
    user_id = fields.String(data_key="userId", load_default=None, allow_none=True, validate=IDENTIFIER)
    units = fields.Integer(strict=True, load_default=1, validate=validate.Range(min=1, max=MAX_UNITS))


class EventsRequest(Schema):
    """1 to 500 events."""

    class Meta:
        """As above."""

        unknown = RAISE

    events = ShortList(
        fields.Nested(BillableEventSchema), required=True, validate=validate.Length(min=1, max=MAX_BATCH_EVENTS)
    )


class EventsFrame(EventsRequest):
    """The frame of EventsRequest alone: what is wrong with one event is said of that one, not of its neighbours."""

    events = ShortList(
        fields.Raw(allow_none=True), required=True, validate=validate.Length(min=1, max=MAX_BATCH_EVENTS)
    )


class ReleaseRequest(Schema):
    """1 to 500 holds."""

    class Meta:
        """As above."""

        unknown = RAISE

    hold_ids = ShortList(
        fields.UUID(),
        data_key="holdIds",
        required=True,
        validate=validate.Length(min=1, max=MAX_BATCH_EVENTS),
    )


class UsedGateSchema(Schema):
    """A gate that counts: its limit, and what of it was used before this event; null while rates are not known."""

    limit = fields.Integer(required=True)
    used_before = fields.Integer(data_key="usedBefore", required=True, allow_none=True)


class CreditsGateSchema(Schema):
    """The credits that were available before this event."""

    available_before = fields.Integer(data_key="availableBefore", required=True)


class GatesSchema(Schema):
    """What each gate of the policy saw; null where the policy does not have it."""

    rate = fields.Nested(UsedGateSchema, required=True, allow_none=True)
    quota = fields.Nested(UsedGateSchema, required=True, allow_none=True)
    credits = fields.Nested(CreditsGateSchema, required=True, allow_none=True)


class ReceiptSchema(Schema):
    """Why an event was granted. `gates` is null where nobody was asked: the fact was charged without a hold."""

    policy_id = fields.String(data_key="policyId", required=True)
    policy_version = fields.Integer(data_key="policyVersion", required=True)
    mode = fields.String(required=True, validate=validate.OneOf(["enforce", "shadow"]))
    would_refuse = fields.String(
        data_key="wouldRefuse",
        required=True,
        allow_none=True,
        metadata={"description": "In shadow mode: the code that it would have been denied with."},
    )
    credits = fields.Integer(required=True)
    gates = fields.Nested(GatesSchema, required=True, allow_none=True)


class EventReceiptSchema(ReceiptSchema):
    """Why an event was granted, and when it went through its states."""

    held_at = fields.DateTime(data_key="heldAt", required=True, allow_none=True)
    settled_at = fields.DateTime(data_key="settledAt", required=True, allow_none=True)
    released_at = fields.DateTime(data_key="releasedAt", required=True, allow_none=True)
    late = fields.Boolean(required=True)


class DecisionSchema(Schema):
    """What was decided about one event, for itself."""

    hold_id = fields.String(data_key="holdId", allow_none=True, required=True)
    event_id = fields.String(data_key="eventId", allow_none=True, required=True)
    decision = fields.String(required=True, validate=validate.OneOf(["granted", "denied", "conflict", "invalid"]))
    code = fields.String()
    retry_after_seconds = fields.Integer(data_key="retryAfterSeconds", allow_none=True)
    message = fields.String()
    receipt = fields.Nested(ReceiptSchema)


class DecisionsResponse(Schema):
    """Decisions, in the order of the events."""

    decisions = fields.List(fields.Nested(DecisionSchema), required=True)


class SettlementSchema(Schema):
    """The state of one event after a settle. `conflict` and `invalid` charge nothing, and say why."""

    hold_id = fields.String(data_key="holdId", allow_none=True, required=True)
    event_id = fields.String(data_key="eventId", allow_none=True, required=True)
    state = fields.String(required=True, validate=validate.OneOf(["settled", "conflict", "invalid"]))
    credits = fields.Integer(allow_none=True)
    late = fields.Boolean(allow_none=True)
    code = fields.String()
    message = fields.String()


class SettlementsResponse(Schema):
    """Results, in the order of the events."""

    results = fields.List(fields.Nested(SettlementSchema), required=True)


class ReleaseSchema(Schema):
    """The state of one hold after a release."""

    hold_id = fields.String(data_key="holdId", required=True)
    state = fields.String(required=True, validate=validate.OneOf(["released", "settled"]))


class ReleasesResponse(Schema):
    """Results, in the order of the holds."""

    results = fields.List(fields.Nested(ReleaseSchema), required=True)


class EventStateSchema(Schema):
    """Where an event stands."""

    event_id = fields.String(data_key="eventId", required=True)
    hold_id = fields.UUID(data_key="holdId", required=True)
    state = fields.String(required=True, validate=validate.OneOf(["held", "settled", "released"]))
    receipt = fields.Nested(EventReceiptSchema, required=True)


class HeldEventSchema(BillableEventSchema):
    """A whole event, with the moment it was held."""

    held_at = fields.DateTime(data_key="heldAt", required=True)


class HeldEventsResponse(Schema):
    """Held events, oldest first."""

    events = fields.List(fields.Nested(HeldEventSchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)


class RateSchema(Schema):
    """Requests per period on the long run, and how many at once."""

    limit = Whole(required=True, validate=validate.Range(min=1, max=1_000_000))
    period_seconds = Whole(data_key="periodSeconds", required=True, validate=validate.Range(min=1, max=31_536_000))
    burst = Whole(required=True, validate=validate.Range(min=1, max=1_000_000))

    @validates_schema
    def check_interval(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse rates finer than the clock: one request in less than a microsecond."""
        if data["limit"] > data["period_seconds"] * 1_000_000:
            raise ValidationError("Must not be more than 1,000,000 a second.", "limit")


class QuotaSchema(Schema):
    """Events per calendar period, UTC."""

    limit = Whole(required=True, validate=validate.Range(min=0, max=2**53))
    period = fields.String(required=True, validate=validate.OneOf(["day", "month"]))


class PolicySchema(Schema):
    """The terms of a policy. A gate that is null or absent does not apply."""

    rate = fields.Nested(RateSchema, load_default=None, allow_none=True)
    quota = fields.Nested(QuotaSchema, load_default=None, allow_none=True)
    prices = fields.Dict(
        keys=fields.String(validate=IDENTIFIER),
        values=Whole(validate=validate.Range(min=0, max=MAX_PRICE_CREDITS)),
        load_default=dict,
        metadata={"description": "Credits per unit, by event type; a type without a price is free."},
    )
    credits = fields.String(load_default="unlimited", validate=validate.OneOf(["prepaid", "unlimited"]))
    mode = fields.String(load_default="enforce", validate=validate.OneOf(["enforce", "shadow"]))


class PolicyVersionSchema(PolicySchema):
    """One version of a policy."""

    policy_id = fields.String(data_key="policyId", required=True)
    version = fields.Integer(required=True)
    created_at = fields.DateTime(data_key="createdAt", required=True)


class PoliciesResponse(Schema):
    """Current versions, by id."""

    policies = fields.List(fields.Nested(PolicyVersionSchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)


class PolicyHistoryResponse(PolicyVersionSchema):
    """The current version, and all versions, newest first."""

    history = fields.List(fields.Nested(PolicyVersionSchema), required=True)


class AssignmentRequest(Schema):
    """The policy that a client is to have."""

    policy_id = fields.String(data_key="policyId", required=True, validate=IDENTIFIER)


class AssignmentSchema(AssignmentRequest):
    """Which policy a client has."""

    client_id = fields.String(data_key="clientId", required=True)


class GrantRequest(Schema):
    """Credits for a client, once per grantId."""

    grant_id = fields.String(data_key="grantId", required=True, validate=IDENTIFIER)
    credits = Whole(required=True, validate=validate.Range(min=1, max=MAX_GRANT_CREDITS))
    source = fields.String(load_default=None, allow_none=True, validate=IDENTIFIER)
    note = fields.String(load_default=None, allow_none=True, validate=validate.Length(max=1000))


class GrantSchema(GrantRequest):
    """A grant as it stands."""

    client_id = fields.String(data_key="clientId", required=True)
    entry_id = fields.Integer(data_key="entryId", required=True)
    at = fields.DateTime(required=True)


class AdjustmentRequest(Schema):
    """A correction, up or down, once per adjustmentId."""

    adjustment_id = fields.String(data_key="adjustmentId", required=True, validate=IDENTIFIER)
    credits = Whole(
        required=True,
        validate=[
            validate.Range(min=-MAX_GRANT_CREDITS, max=MAX_GRANT_CREDITS),
            validate.NoneOf([0], error="Must not be 0."),
        ],
    )
    reason = fields.String(required=True, validate=validate.Length(min=1, max=1000))


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


class LedgerResponse(Schema):
    """Entries, oldest first."""

    entries = fields.List(fields.Nested(LedgerEntrySchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)


class ChargeSchema(Schema):
    """One charged event. `credits` is signed as in the ledger: negative, or 0 for a free event."""

    event_id = fields.String(data_key="eventId", required=True)
    hold_id = fields.UUID(data_key="holdId", required=True)
    client_id = fields.String(data_key="clientId", required=True)
    event_type = fields.String(data_key="eventType", required=True)
    credits = fields.Integer(required=True)
    late = fields.Boolean(required=True)
    at = fields.DateTime(required=True)


class ChargesResponse(Schema):
    """Charges, by event id."""

    charges = fields.List(fields.Nested(ChargeSchema), required=True)
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


class FieldFaultSchema(Schema):
    """What is wrong with one field or parameter."""

    field = fields.String(required=True)
    message = fields.String(required=True)


class ErrorResponse(Schema):
    """Why not; `code` stays the same whatever becomes of the sentence."""

    error = fields.String(required=True)
    code = fields.String(required=True)
    details = fields.List(fields.Nested(FieldFaultSchema))
