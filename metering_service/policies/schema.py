"""What a policy is made of, as callers send it, as operators' files hold it, and as it is stored."""

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema

from metering_service.policies.policy import (
    ANY_TYPE,
    BALANCE,
    MAX_GRANT_CREDITS,
    MAX_IDENTIFIER_CHARACTERS,
    MAX_LIMITS,
    MAX_PRICE_CREDITS,
    OF_QUOTA,
    WRONG_IDENTIFIER,
    Policy,
    Quota,
    Rate,
    Thresholds,
    is_identifier,
)
from service_chassis.schema.fields import BoundedList, ClosedSchema, Table, count, integer, length, one_of, text

_MAX_RATE = 1_000_000
_MAX_PERIOD_SECONDS = 365 * 86_400
_MAX_QUOTA = 2**53
_MAX_EVENT_TYPES = 100
_MAX_NAME_CHARACTERS = 64
_MAX_THRESHOLDS = 16
_MAX_FRACTION = 100


class _NumberOr(fields.Field[Any]):
    """An integer from 0 to `most`, or a word."""

    def __init__(self, most: int, word: str, **options: Any) -> None:
        one_of = [{"type": "integer", "minimum": 0, "maximum": most}, {"type": "string", "enum": [word]}]
        super().__init__(metadata={"oneOf": one_of}, **options)
        self._number, self._word = integer(0, most), word

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if value == self._word:
            return None
        if isinstance(value, str):
            raise ValidationError(f"Must be a number or {self._word}.")
        return self._number.deserialize(value)


class _OverdraftSchema(ClosedSchema):
    overdraft = integer(1, MAX_GRANT_CREDITS, required=True)


class _Credits(fields.Field[Any]):
    """How credits are asked for."""

    _WORDS = ("prepaid", "unlimited")

    def __init__(self, **options: Any) -> None:
        overdraft = {
            "type": "object",
            "properties": {"overdraft": {"type": "integer", "minimum": 1, "maximum": MAX_GRANT_CREDITS}},
            "required": ["overdraft"],
            "additionalProperties": False,
        }
        one_of = [{"type": "string", "enum": list(self._WORDS)}, overdraft]
        super().__init__(metadata={"oneOf": one_of}, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if value in self._WORDS:
            return value
        if not isinstance(value, dict):
            raise ValidationError('Must be prepaid, unlimited, or {"overdraft": credits}.')
        return _OverdraftSchema().load(value)


def require_identifier(value: str) -> None:
    """Raise ValidationError for what can be no id, whatever its length."""
    if value and not is_identifier(value[:MAX_IDENTIFIER_CHARACTERS]):
        raise ValidationError(WRONG_IDENTIFIER)


def identifier(**options: Any) -> fields.String:
    """Make a field of an id that callers give."""
    return fields.String(validate=[length(1, MAX_IDENTIFIER_CHARACTERS), require_identifier], **options)


def _event_types() -> fields.Field[Any]:
    return BoundedList(
        text(MAX_IDENTIFIER_CHARACTERS),
        data_key="eventTypes",
        load_default=[ANY_TYPE],
        validate=count(1, _MAX_EVENT_TYPES),
        metadata={"description": "What it is about; `*` is every type."},
    )


def _per() -> fields.Field[Any]:
    return fields.String(load_default="client", validate=one_of("client", "user"))


class RateSchema(ClosedSchema):
    """Requests per period on the long run, and how many at once."""

    name = text(_MAX_NAME_CHARACTERS, required=True)
    limit = integer(1, _MAX_RATE, required=True)
    period_seconds = integer(1, _MAX_PERIOD_SECONDS, data_key="periodSeconds", required=True)
    burst = integer(1, _MAX_RATE, required=True)
    per = _per()
    event_types = _event_types()

    @validates_schema
    def _is_no_finer_than_the_clock(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse one request in less than a microsecond."""
        if data["limit"] > data["period_seconds"] * 1_000_000:
            raise ValidationError("Must not be more than 1,000,000 a second.", "limit")


class QuotaSchema(ClosedSchema):
    """So much in a period, UTC."""

    name = text(_MAX_NAME_CHARACTERS, required=True)
    limit = integer(0, _MAX_QUOTA, required=True)
    counts = fields.String(load_default="events", validate=one_of("events", "units", "credits"))
    period = fields.String(
        required=True,
        validate=one_of("hour", "day", "week", "month", "year"),
        metadata={"description": "A week begins on Monday."},
    )
    anchor = fields.String(
        load_default="calendar",
        validate=one_of("calendar", "assigned"),
        metadata={"description": "`assigned`: periods are counted from the client's assignment of a policy."},
    )
    per = _per()
    event_types = _event_types()
    overage = _NumberOr(_MAX_QUOTA, "unlimited", load_default=0)


def _require_number(value: Any) -> None:
    """Raise ValidationError for what is none; where it may be, as a fraction or credits, its neighbour `of` says."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValidationError("Must be a number.")


class ThresholdsSchema(ClosedSchema):
    """When a notice is written about a client: once per threshold and period, by what is settled."""

    of = text(
        len(OF_QUOTA) + _MAX_NAME_CHARACTERS,
        required=True,
        metadata={"description": "`balance`, or `quota:` and the name of a quota of the policy."},
    )
    at = BoundedList(
        fields.Raw(validate=_require_number, metadata={"type": "number"}),
        required=True,
        validate=count(1, _MAX_THRESHOLDS),
        metadata={
            "description": "Of a quota fractions of its limit, as 0.8: reached when so much of it is used. Of the "
            "balance credits, as 100: reached when so many or fewer are not spent."
        },
    )

    @validates_schema
    def _fits_what_it_is_of(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse what no quota and no balance can reach, and thresholds that are there twice."""
        is_balance = data["of"] == BALANCE
        for number, at in enumerate(data["at"]):
            if is_balance and not (isinstance(at, int) and abs(at) <= MAX_GRANT_CREDITS):
                words = f"Must be an integer from {-MAX_GRANT_CREDITS} to {MAX_GRANT_CREDITS}."
            elif not is_balance and not 0 < at <= _MAX_FRACTION:
                words = f"Must be a fraction of the limit, above 0 and {_MAX_FRACTION} at most."
            elif at in data["at"][:number]:
                words = "Must not be there twice."
            else:
                continue
            raise ValidationError({"at": {number: [words]}})


def _require_a_price(prices: Mapping[str, int]) -> None:
    if not prices:
        raise ValidationError('Must name a price; {"*": 0} sells everything for nothing.')


def _limits(schema: type[Schema], **options: Any) -> fields.Field[Any]:
    return BoundedList(fields.Nested(schema), load_default=list, validate=count(None, MAX_LIMITS), **options)


class PolicySchema(ClosedSchema):
    """The terms of a policy. A limit that is absent does not apply."""

    rates = _limits(RateSchema)
    quotas = _limits(QuotaSchema)
    prices = Table(
        keys=text(MAX_IDENTIFIER_CHARACTERS),
        values=integer(0, MAX_PRICE_CREDITS),
        required=True,
        validate=_require_a_price,
        metadata={
            "minProperties": 1,
            "description": "Credits per unit, by event type. A type that is not listed has the price of `*`; without "
            "`*` it is not sold.",
        },
    )
    credits = _Credits(load_default="unlimited")
    mode = fields.String(load_default="enforce", validate=one_of("enforce", "shadow"))
    notices = BoundedList(fields.Nested(ThresholdsSchema), load_default=list, validate=count(None, MAX_LIMITS + 1))

    @validates_schema
    def _has_distinct_names(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse two limits of one name: a receipt could not tell them apart."""
        for kind in ("rates", "quotas"):
            names = [limit["name"] for limit in data[kind]]
            for number, name in enumerate(names):
                if name in names[:number]:
                    raise ValidationError({kind: {number: {"name": ["Must not be named twice."]}}})

    @validates_schema
    def _has_what_its_notices_are_of(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse notices of what the policy does not have, and two of the same."""
        measured = {f"{OF_QUOTA}{quota['name']}" for quota in data["quotas"]}
        named = [each["of"] for each in data["notices"]]
        for number, of in enumerate(named):
            if of == BALANCE and data["credits"] == "unlimited":
                words = "Must not be balance where credits are unlimited: none are spent."
            elif of != BALANCE and of not in measured:
                words = f"Must be {BALANCE}, or {OF_QUOTA} and the name of a quota of this policy."
            elif of in named[:number]:
                words = "Must not be there twice."
            else:
                continue
            raise ValidationError({"notices": {number: {"of": [words]}}})


def make_policy(loaded: Mapping[str, Any]) -> Policy:
    """Make a policy of what PolicySchema loaded."""
    credits = loaded["credits"]
    overdraft = 0 if isinstance(credits, str) else credits["overdraft"]
    return Policy(
        rates=tuple(Rate(**{**rate, "event_types": tuple(rate["event_types"])}) for rate in loaded["rates"]),
        quotas=tuple(Quota(**{**quota, "event_types": tuple(quota["event_types"])}) for quota in loaded["quotas"]),
        prices=loaded["prices"],
        credits="overdraft" if overdraft else credits,
        mode=loaded["mode"],
        overdraft=overdraft,
        notices=tuple(Thresholds(each["of"], tuple(each["at"])) for each in loaded["notices"]),
    )
