"""What was decided about a client's events, and why."""

from aiohttp import web
from marshmallow import Schema, fields, validate

from metering_service.api.auth import for_keys
from metering_service.api.event_schemas import ReceiptSchema
from metering_service.api.refusals import RECEIPT, TIME_PARAMETERS
from metering_service.api.responses import (
    CLIENT_ID,
    PAGE_PARAMETERS,
    WRONG_PAGE,
    describe_refused_keys,
    parse_id,
    read_identifier,
    read_page,
    respond_page,
)
from metering_service.components import COMPONENTS
from metering_service.decisions.read import Position, as_document, find_decisions
from service_chassis.http.query import read_moment, read_query
from service_chassis.openapi.endpoint import Endpoint, Success

_PARAMETERS = (*TIME_PARAMETERS, *PAGE_PARAMETERS)
_FIRST = Position()


class DecisionLineSchema(Schema):
    """One charge, or the refusals of one kind in one minute."""

    kind = fields.String(required=True, validate=validate.OneOf(["charge", "refusal"]))
    at = fields.DateTime(
        required=True, metadata={"description": "When it was charged; of refusals the last one of the minute."}
    )
    event_type = fields.String(data_key="eventType", required=True)
    user_id = fields.String(data_key="userId", required=True, allow_none=True)
    receipt = fields.Nested(ReceiptSchema, required=True)
    event_id = fields.String(data_key="eventId", metadata={"description": "Of a charge."})
    units = fields.Integer(metadata={"description": "Of a charge."})
    credits = fields.Integer(metadata={"description": "Of a charge."})
    late = fields.Boolean(metadata={"description": "Of a charge: made without a hold."})
    code = fields.String(metadata={"description": "Of a refusal."})
    limit = fields.String(
        allow_none=True, metadata={"description": "Of a refusal: the rate or quota, null where it was neither."}
    )
    count = fields.Integer(metadata={"description": "Of a refusal: how many there were in the minute."})
    first_at = fields.DateTime(data_key="firstAt", metadata={"description": "Of a refusal."})
    first_receipt = fields.Nested(ReceiptSchema, data_key="firstReceipt")


class DecisionLinesSchema(Schema):
    """Charges and refusals, newest first."""

    decisions = fields.List(fields.Nested(DecisionLineSchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)


@for_keys("events", "admin")
async def list_decisions(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/decisions."""
    client_id = read_identifier(request, "clientId")
    asked = read_query(request, _PARAMETERS)
    parsers = (read_moment, int, read_moment, parse_id, parse_id, parse_id, parse_id)
    limit, (at, entry_id, *refusal) = read_page(asked, (*_FIRST.charge, *_FIRST.refusal), *parsers)
    position = Position((at, entry_id), tuple(refusal))
    page = await find_decisions(request.app[COMPONENTS].pool, client_id, asked["from"], asked["to"], position, limit)
    return respond_page("decisions", page, as_document, lambda ended: (*ended.charge, *ended.refusal))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/decisions",
        list_decisions,
        summary="List a client's charges and refusals with their receipts",
        description="Between two moments, newest first: every charge, by when it was made, and what is kept of "
        "refusals, which stand at the beginning of their minute. Refusals are kept for 35 days by default. "
        "Scope `events` or `admin`.",
        tag="accounts",
        parameters=(CLIENT_ID, *_PARAMETERS),
        responses={
            200: Success(
                "Charges and refusals, newest first.",
                DecisionLinesSchema,
                {
                    "decisions": [
                        {
                            "kind": "refusal",
                            "at": "2026-07-01T14:03:48.100000Z",
                            "eventType": "plan_play.created",
                            "userId": None,
                            "code": "api_quota_exceeded",
                            "limit": "monthly plays",
                            "count": 17,
                            "firstAt": "2026-07-01T14:03:01.250000Z",
                            "firstReceipt": RECEIPT,
                            "receipt": RECEIPT,
                        },
                        {
                            "kind": "charge",
                            "at": "2026-07-01T09:00:00.250000Z",
                            "eventType": "plan_play.created",
                            "userId": "user-1",
                            "eventId": "plan_play.created:0198f2a4-7c1d-7b21-8a55-3c2d1e0f9b77",
                            "units": 1,
                            "credits": 1,
                            "late": False,
                            "receipt": {**RECEIPT, "credits": 1},
                        },
                    ],
                    "nextCursor": None,
                },
            )
        },
        failures=[WRONG_PAGE, *describe_refused_keys("events", "admin")],
    ),
)
