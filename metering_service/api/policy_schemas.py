"""The wire's shapes of policies as they stand, and of who has which."""

from marshmallow import Schema, fields

from metering_service.api.grant_schemas import CREATE
from metering_service.policies.policy import MAX_IDENTIFIER_CHARACTERS
from metering_service.policies.schema import PolicySchema
from service_chassis.schema.fields import ClosedSchema, StrictBoolean, UtcDateTime, text


class PutPolicySchema(PolicySchema):
    """The terms of a policy, in force at once or from `effectiveAt` on."""

    effective_at = UtcDateTime(data_key="effectiveAt", load_default=None)


class PolicyVersionSchema(PolicySchema):
    """One version of a policy."""

    policy_id = fields.String(data_key="policyId", required=True)
    version = fields.Integer(required=True)
    created_at = fields.DateTime(data_key="createdAt", required=True)
    effective_at = fields.DateTime(data_key="effectiveAt", required=True)


class PutPolicyResultSchema(PolicyVersionSchema):
    """The version that was made, and what may be a mistake in it."""

    warnings = fields.List(fields.String(), required=True)


class PolicyIdSchema(Schema):
    """Which policy it was about."""

    policy_id = fields.String(data_key="policyId", required=True)


class PoliciesSchema(Schema):
    """Current versions, by id."""

    policies = fields.List(fields.Nested(PolicyVersionSchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)


class PolicyHistorySchema(PolicyVersionSchema):
    """The current version, and all versions, newest first, also one that is booked."""

    history = fields.List(fields.Nested(PolicyVersionSchema), required=True)


class AssignPolicySchema(ClosedSchema):
    """The policy that a client is to have, from `from` (now) until `until`, and what it has `then`."""

    policy_id = text(MAX_IDENTIFIER_CHARACTERS, data_key="policyId", required=True)
    from_when = UtcDateTime(data_key="from", load_default=None)
    until = UtcDateTime(load_default=None)
    then = text(MAX_IDENTIFIER_CHARACTERS, load_default=None, metadata={"description": "Must be there with `until`."})
    shadow = text(
        MAX_IDENTIFIER_CHARACTERS,
        load_default=None,
        allow_none=True,
        metadata={"description": "A policy that decides about the same events, is recorded, and refuses nothing."},
    )
    reset_periods = StrictBoolean(
        data_key="resetPeriods",
        load_default=False,
        metadata={"description": "Count periods that do not follow the calendar anew from `from` on."},
    )
    create = CREATE


class AssignmentSchema(Schema):
    """A policy that a client has, had, or will have."""

    policy_id = fields.String(data_key="policyId", required=True)
    from_when = fields.DateTime(data_key="from", required=True)
    until = fields.DateTime(required=True, allow_none=True)
    shadow = fields.String(required=True, allow_none=True)


class ClientPolicySchema(Schema):
    """A client's policy; `policyId` is null where it has the default one."""

    client_id = fields.String(data_key="clientId", required=True)
    policy_id = fields.String(data_key="policyId", required=True, allow_none=True)
    from_when = fields.DateTime(data_key="from", required=True, allow_none=True)
    until = fields.DateTime(required=True, allow_none=True)
    shadow = fields.String(required=True, allow_none=True)
    booked = fields.List(fields.Nested(AssignmentSchema), required=True)
    past = fields.List(fields.Nested(AssignmentSchema), required=True)
