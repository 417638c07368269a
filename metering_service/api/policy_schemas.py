"""The wire's shapes of policies as they stand, and of who has which."""

from marshmallow import Schema, fields

from metering_service.policies.policy import MAX_IDENTIFIER_CHARACTERS
from metering_service.policies.schema import PolicySchema
from service_chassis.schema.fields import ClosedSchema, text


class PolicyVersionSchema(PolicySchema):
    """One version of a policy."""

    policy_id = fields.String(data_key="policyId", required=True)
    version = fields.Integer(required=True)
    created_at = fields.DateTime(data_key="createdAt", required=True)


class PoliciesSchema(Schema):
    """Current versions, by id."""

    policies = fields.List(fields.Nested(PolicyVersionSchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)


class PolicyHistorySchema(PolicyVersionSchema):
    """The current version, and all versions, newest first."""

    history = fields.List(fields.Nested(PolicyVersionSchema), required=True)


class AssignPolicySchema(ClosedSchema):
    """The policy that a client is to have."""

    policy_id = text(MAX_IDENTIFIER_CHARACTERS, data_key="policyId", required=True)


class AssignmentSchema(AssignPolicySchema):
    """Which policy a client has."""

    client_id = fields.String(data_key="clientId", required=True)
