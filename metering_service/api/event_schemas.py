"""The wire's shapes of events, of decisions about them, and of where they stand.

Long because all that a decision says, from its limits to its receipt, is read in one piece.
"""

from collections.abc import Callable
from typing import Any

from marshmallow import Schema, fields, validate

from metering_service.events.event import MAX_BATCH_EVENTS
from metering_service.policies.policy import MAX_IDENTIFIER_CHARACTERS, MAX_UNITS
from metering_service.policies.schema import require_identifier
from service_chassis.schema.fields import (
    BoundedList,
    ClosedSchema,
    StrictBoolean,
    UtcDateTime,
    count,
    integer,
    length,
)

# For each event of each call: `fields.text` would look for what no JSON body can hold. What is charged or given back
# is taken by its length alone: a fact is charged, whatever its ids hold.
_IDENTIFIER = length(1, MAX_IDENTIFIER_CHARACTERS)
_NEW: list[Callable[[Any], Any]] = [_IDENTIFIER, require_identifier]
# In the dialect that JSON Schema shares with Python, where `$` lets a newline follow: hence the length.
_UUID_TEXT = [
    validate.Length(equal=36, error="Must have 36 characters."),
    validate.Regexp(
        "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$", error="Must be a UUID."
    ),
]
_BATCH = count(1, MAX_BATCH_EVENTS)


class BillableEventSchema(ClosedSchema):
    """One attempt at one billable event."""

    hold_id = fields.String(
        data_key="holdId",
        required=True,
        validate=_UUID_TEXT,
        metadata={"format": "uuid", "description": "The attempt: a new UUID each."},
    )
    event_id = fields.String(data_key="eventId", required=True, validate=_NEW, metadata={"description": "The fact."})
    client_id = fields.String(data_key="clientId", required=True, validate=_NEW)
    event_type = fields.String(data_key="eventType", required=True, validate=_NEW)
    user_id = fields.String(data_key="userId", load_default=None, allow_none=True, validate=_IDENTIFIER)
    units = integer(1, MAX_UNITS, load_default=1)


class HoldSchema(ClosedSchema):
    """A hold, with the event that it is for."""

    client_id = fields.String(data_key="clientId", required=True, validate=_IDENTIFIER)
    hold_id = fields.String(data_key="holdId", required=True, validate=_UUID_TEXT, metadata={"format": "uuid"})
    event_id = fields.String(data_key="eventId", required=True, validate=_IDENTIFIER)


class SettledEventSchema(HoldSchema):
    """A fact to be charged: its ids and, told whole, its type, user, units and moment.

    Without `units` as many are charged as were held.
    """

    units = integer(0, MAX_UNITS, load_default=None)
    event_type = fields.String(data_key="eventType", load_default=None, validate=_IDENTIFIER)
    user_id = fields.String(data_key="userId", load_default=None, allow_none=True, validate=_IDENTIFIER)
    happened_at = UtcDateTime(
        data_key="happenedAt",
        load_default=None,
        metadata={"description": "With `eventType`: charged also where metering knows nothing of the event."},
    )


_RESOLVE_WITHIN = integer(
    1,
    86_400,
    data_key="resolveWithinSeconds",
    load_default=60,
    metadata={"description": "When the caller will have settled or released what is granted, at the latest."},
)


class EventsSchema(ClosedSchema):
    """1 to 500 events."""

    events = BoundedList(fields.Nested(BillableEventSchema), required=True, validate=_BATCH)
    resolve_within_seconds = _RESOLVE_WITHIN
    dry_run = StrictBoolean(
        data_key="dryRun",
        load_default=False,
        metadata={"description": "Only say what would be decided: nothing is held, and no place in a rate is taken."},
    )


class EventsFrameSchema(EventsSchema):
    """The frame of EventsSchema alone: what is wrong with one event is said of that one, not of its neighbours."""

    events = BoundedList(fields.Raw(allow_none=True), required=True, validate=_BATCH)


class SettledEventsSchema(ClosedSchema):
    """1 to 500 facts to be charged."""

    events = BoundedList(fields.Nested(SettledEventSchema), required=True, validate=_BATCH)


class HoldsSchema(ClosedSchema):
    """1 to 500 holds to be given back, none of them twice."""

    events = BoundedList(fields.Nested(HoldSchema), required=True, validate=_BATCH)


class FrameSchema(ClosedSchema):
    """The frame of a list of events alone: what is wrong with one of them is said of that one."""

    events = BoundedList(fields.Raw(allow_none=True), required=True, validate=_BATCH)


class RateGateSchema(Schema):
    """A rate, how many it lets through at once, and how many of those were in use; null while rates are not known."""

    name = fields.String(required=True)
    limit = fields.Integer(required=True)
    used_before = fields.Integer(data_key="usedBefore", required=True, allow_none=True)


class QuotaGateSchema(Schema):
    """A quota, what was charged and held of it before, what this event takes, and the part above the limit."""

    name = fields.String(required=True)
    limit = fields.Integer(required=True)
    used_before = fields.Integer(data_key="usedBefore", required=True)
    amount = fields.Integer(required=True)
    overage = fields.Integer(required=True)


class CreditsGateSchema(Schema):
    """The credits that were available before this event."""

    available_before = fields.Integer(data_key="availableBefore", required=True)


class GatesSchema(Schema):
    """What each limit saw that applies to the event; `credits` is null where the policy does not ask for any."""

    rates = fields.List(fields.Nested(RateGateSchema), required=True)
    quotas = fields.List(fields.Nested(QuotaGateSchema), required=True)
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
    degraded = fields.Boolean(
        required=True, metadata={"description": "A rate applies that was not asked, because Redis was away."}
    )
    credits = fields.Integer(required=True)
    gates = fields.Nested(GatesSchema, required=True, allow_none=True)


class PayerSchema(Schema):
    """A grant that paid for a charge, or a part of it."""

    kind = fields.String(required=True, validate=validate.OneOf(["grant", "refund", "adjust"]))
    grant_id = fields.String(data_key="grantId", required=True)
    credits = fields.Integer(required=True)


class EventReceiptSchema(ReceiptSchema):
    """Why an event was granted, and when it went through its states. Of a released one only the latter is kept."""

    grants = fields.List(
        fields.Nested(PayerSchema),
        required=True,
        metadata={"description": "Which grants paid for it; what none of them covers, the next one will pay."},
    )
    held_at = fields.DateTime(data_key="heldAt", required=True, allow_none=True)
    settled_at = fields.DateTime(data_key="settledAt", required=True, allow_none=True)
    released_at = fields.DateTime(data_key="releasedAt", required=True, allow_none=True)
    late = fields.Boolean(required=True)

    json_schema = {"required": ["heldAt", "late", "releasedAt", "settledAt"]}  # noqa: RUF012 - of a released one, all


class LimitSchema(Schema):
    """What is left of a limit after the decision, and in how many seconds all of it will be there again."""

    name = fields.String(required=True)
    limit = fields.Integer(required=True)
    remaining = fields.Integer(required=True)
    reset_seconds = fields.Integer(data_key="resetSeconds", required=True)


class DecisionSchema(Schema):
    """What was decided about one event, for itself."""

    hold_id = fields.String(data_key="holdId", allow_none=True, required=True)
    event_id = fields.String(data_key="eventId", allow_none=True, required=True)
    decision = fields.String(
        required=True, validate=validate.OneOf(["granted", "denied", "conflict", "invalid", "error"])
    )
    state = fields.String(validate=validate.OneOf(["held", "settled"]))
    held_at = fields.DateTime(data_key="heldAt")
    code = fields.String()
    retry_after_seconds = fields.Integer(data_key="retryAfterSeconds", allow_none=True)
    message = fields.String()
    receipt = fields.Nested(ReceiptSchema)
    limits = fields.List(fields.Nested(LimitSchema))


class DecisionsSchema(Schema):
    """Decisions, in the order of the events."""

    decisions = fields.List(fields.Nested(DecisionSchema), required=True)


class SettlementSchema(Schema):
    """The state of one event after a settle. All but `settled` charge nothing, and say why.

    `unknown`: neither held nor charged, and not told whole. `error`: not now, ask again.
    """

    hold_id = fields.String(data_key="holdId", allow_none=True, required=True)
    event_id = fields.String(data_key="eventId", allow_none=True, required=True)
    state = fields.String(
        required=True, validate=validate.OneOf(["settled", "unknown", "conflict", "invalid", "error"])
    )
    credits = fields.Integer(allow_none=True)
    late = fields.Boolean(allow_none=True)
    code = fields.String()
    message = fields.String()


class SettlementsSchema(Schema):
    """Results, in the order of the events."""

    results = fields.List(fields.Nested(SettlementSchema), required=True)


class ReleaseSchema(Schema):
    """The state of one hold after a release. `eventId` stands beside `invalid`, where it could be read."""

    event_id = fields.String(data_key="eventId", allow_none=True)
    hold_id = fields.String(data_key="holdId", allow_none=True, required=True)
    state = fields.String(
        required=True, validate=validate.OneOf(["released", "settled", "conflict", "invalid", "error"])
    )
    code = fields.String()
    message = fields.String()


class ReleasesSchema(Schema):
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


class HeldEventsSchema(Schema):
    """Held events, oldest first."""

    events = fields.List(fields.Nested(HeldEventSchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)
