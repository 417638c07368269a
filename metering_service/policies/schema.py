"""What a policy is made of, as callers send it and as operators' files hold it."""

from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from metering_service.policies.policy import (
    MAX_IDENTIFIER_CHARACTERS,
    MAX_PRICE_CREDITS,
    Policy,
    Quota,
    Rate,
)
from service_chassis.schema.fields import ClosedSchema, integer, text

_MAX_RATE = 1_000_000
_MAX_PERIOD_SECONDS = 365 * 86_400


class RateSchema(ClosedSchema):
    """Requests per period on the long run, and how many at once."""

    limit = integer(1, _MAX_RATE, required=True)
    period_seconds = integer(1, _MAX_PERIOD_SECONDS, data_key="periodSeconds", required=True)
    burst = integer(1, _MAX_RATE, required=True)

    @validates_schema
    def _is_no_finer_than_the_clock(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse one request in less than a microsecond."""
        if data["limit"] > data["period_seconds"] * 1_000_000:
            raise ValidationError("Must not be more than 1,000,000 a second.", "limit")


class QuotaSchema(ClosedSchema):
    """Events per calendar period, UTC."""

    limit = integer(0, 2**53, required=True)
    period = fields.String(required=True, validate=validate.OneOf(["day", "month"]))


class PolicySchema(ClosedSchema):
    """The terms of a policy. A gate that is null or absent does not apply."""

    rate = fields.Nested(RateSchema, load_default=None, allow_none=True)
    quota = fields.Nested(QuotaSchema, load_default=None, allow_none=True)
    prices = fields.Dict(
        keys=text(MAX_IDENTIFIER_CHARACTERS),
        values=integer(0, MAX_PRICE_CREDITS),
        load_default=dict,
        metadata={"description": "Credits per unit, by event type; a type without a price is free."},
    )
    credits = fields.String(load_default="unlimited", validate=validate.OneOf(["prepaid", "unlimited"]))
    mode = fields.String(load_default="enforce", validate=validate.OneOf(["enforce", "shadow"]))


def make_policy(loaded: dict[str, Any]) -> Policy:
    """Make a policy of what PolicySchema loaded."""
    rate, quota = loaded.pop("rate"), loaded.pop("quota")
    return Policy(rate=Rate(**rate) if rate else None, quota=Quota(**quota) if quota else None, **loaded)
