"""The wire's shapes of a client's usage."""

from marshmallow import Schema, fields, validate


class CountersSchema(Schema):
    """Requests that were charged (successful) and refused (failed), and the credits that they took."""

    total_requests = fields.Integer(data_key="totalRequests", required=True)
    successful_requests = fields.Integer(data_key="successfulRequests", required=True)
    failed_requests = fields.Integer(data_key="failedRequests", required=True)
    total_credits_consumed = fields.Integer(data_key="totalCreditsConsumed", required=True)


class RouteSchema(CountersSchema):
    """The usage of one billable event type; `routeKey` is its name."""

    route_key = fields.String(data_key="routeKey", required=True)
    method = fields.String(
        required=True, allow_none=True, metadata={"description": "Null for a type that is none of this API's."}
    )
    path_pattern = fields.String(data_key="pathPattern", required=True, allow_none=True)
    charge_mode = fields.String(data_key="chargeMode", required=True, validate=validate.OneOf(["billable", "free"]))
    default_credit_cost = fields.Integer(
        data_key="defaultCreditCost",
        required=True,
        allow_none=True,
        metadata={"description": "Credits for one at present; null where the client's policy does not sell it."},
    )
    last_request_at = fields.DateTime(data_key="lastRequestAt", required=True, allow_none=True)


class QuotaSchema(Schema):
    """A quota of the client in its present period."""

    name = fields.String(required=True)
    limit = fields.Integer(required=True)
    used = fields.Integer(required=True)
    resets_at = fields.DateTime(data_key="resetsAt", required=True)


class ExpiringSchema(Schema):
    """Credits that expire next."""

    credits = fields.Integer(required=True)
    at = fields.DateTime(required=True)


class BalanceSchema(Schema):
    """Credits at present."""

    available = fields.Integer(required=True)
    held = fields.Integer(required=True)
    expiring_next = fields.Nested(ExpiringSchema, data_key="expiringNext", required=True, allow_none=True)


class SummarySchema(Schema):
    """A client's usage of one month. `quotas` and `balance` are at present; `balance` null: nothing costs credits."""

    client_id = fields.String(data_key="clientId", required=True)
    month_key = fields.String(data_key="monthKey", required=True)
    totals = fields.Nested(CountersSchema, required=True)
    routes = fields.List(fields.Nested(RouteSchema), required=True)
    quotas = fields.List(fields.Nested(QuotaSchema), required=True)
    balance = fields.Nested(BalanceSchema, required=True, allow_none=True)


class OneSummarySchema(Schema):
    """A client's usage of one month."""

    data = fields.Nested(SummarySchema, required=True)


class UsageEventSchema(Schema):
    """One charge, or the refusals of one kind in one minute, with the receipt: policy, limits, what stood before."""

    kind = fields.String(required=True, validate=validate.OneOf(["charge", "refusal"]))
    at = fields.DateTime(required=True)
    event_type = fields.String(data_key="eventType", required=True)
    user_id = fields.String(data_key="userId", required=True, allow_none=True)
    receipt = fields.Dict(required=True)
    event_id = fields.String(data_key="eventId", metadata={"description": "Of a charge."})
    units = fields.Integer(metadata={"description": "Of a charge."})
    credits = fields.Integer(metadata={"description": "Of a charge."})
    late = fields.Boolean(metadata={"description": "Of a charge."})
    code = fields.String(metadata={"description": "Of a refusal."})
    limit = fields.String(allow_none=True, metadata={"description": "Of a refusal: the limit's name."})
    count = fields.Integer(metadata={"description": "Of a refusal: how many in the minute; `receipt` is the last's."})
    first_at = fields.DateTime(data_key="firstAt", metadata={"description": "Of a refusal."})
    first_receipt = fields.Dict(data_key="firstReceipt", metadata={"description": "Of a refusal."})


class UsageEventListSchema(Schema):
    """Charges and refusals of a month, newest first; `nextCursor` is null on the last page."""

    data = fields.List(fields.Nested(UsageEventSchema), required=True)
    count = fields.Integer(required=True, metadata={"description": "Length of `data`."})
    next_cursor = fields.String(data_key="nextCursor", required=True, allow_none=True)
