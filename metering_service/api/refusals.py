"""Why a client was refused."""

from aiohttp import web
from marshmallow import Schema, fields

from metering_service.api.auth import for_keys
from metering_service.api.event_schemas import ReceiptSchema
from metering_service.api.responses import (
    ADMIN_KEY,
    CLIENT_ID,
    PAGE_PARAMETERS,
    UNKNOWN_CLIENT,
    WRONG_PAGE,
    parse_id,
    read_known_client,
    read_page,
    respond_page,
)
from metering_service.components import COMPONENTS
from metering_service.refusals.keep import LAST_LINE, find_refusals
from metering_service.refusals.refusal import RefusalLine
from service_chassis.http.query import read_moment, read_query
from service_chassis.openapi.endpoint import Endpoint, Success, query

_MOMENT = {"type": "string", "format": "date-time", "minLength": 1, "maxLength": 40}
TIME_PARAMETERS = (
    query("from", "The first minute, as 2026-07-01T14:03:00Z.", _MOMENT),
    query("to", "The minute after the last one.", _MOMENT),
)
_PARAMETERS = (*TIME_PARAMETERS, *PAGE_PARAMETERS)


class RefusalSchema(Schema):
    """Refusals of one kind in one minute, with the receipts of the first and the last."""

    minute = fields.DateTime(required=True)
    event_type = fields.String(data_key="eventType", required=True)
    code = fields.String(required=True)
    limit = fields.String(
        required=True, allow_none=True, metadata={"description": "The rate or the quota that refused, by its name."}
    )
    user_id = fields.String(
        data_key="userId",
        required=True,
        allow_none=True,
        metadata={"description": "Null: without a user, or one beyond the first 100 of the minute."},
    )
    count = fields.Integer(required=True)
    first_at = fields.DateTime(data_key="firstAt", required=True)
    last_at = fields.DateTime(data_key="lastAt", required=True)
    first_receipt = fields.Nested(ReceiptSchema, data_key="firstReceipt", required=True)
    last_receipt = fields.Nested(ReceiptSchema, data_key="lastReceipt", required=True)


class RefusalsSchema(Schema):
    """Refusals, newest first."""

    refusals = fields.List(fields.Nested(RefusalSchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)


@for_keys("admin")
async def list_refusals(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/refusals."""
    asked = read_query(request, _PARAMETERS)
    limit, before = read_page(asked, LAST_LINE, read_moment, parse_id, parse_id, parse_id, parse_id)
    client_id = await read_known_client(request)
    page = await find_refusals(
        request.app[COMPONENTS].pool, client_id, asked["from"], asked["to"], tuple(before), limit
    )
    return respond_page(
        "refusals",
        page,
        RefusalLine.as_document,
        lambda last: (last.minute, last.event_type, last.code, last.limit, last.user_id),
    )


RECEIPT = {
    "policyId": "starter",
    "policyVersion": 2,
    "mode": "enforce",
    "wouldRefuse": None,
    "degraded": False,
    "credits": 0,
    "gates": {
        "rates": [],
        "quotas": [{"name": "monthly plays", "limit": 5, "usedBefore": 5, "amount": 1, "overage": 1}],
        "credits": None,
    },
}

ENDPOINTS = (
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/refusals",
        list_refusals,
        summary="List refusals",
        description="Why a client was refused: by minute, event type, limit and user, newest first. Written once a "
        "second by each process, which loses the last second when it is killed; kept for 35 days by default.",
        tag="accounts",
        parameters=(CLIENT_ID, *_PARAMETERS),
        responses={
            200: Success(
                "Refusals, newest first.",
                RefusalsSchema,
                {
                    "refusals": [
                        {
                            "minute": "2026-07-01T14:03:00Z",
                            "eventType": "plan_play.created",
                            "code": "api_quota_exceeded",
                            "limit": "monthly plays",
                            "userId": None,
                            "count": 17,
                            "firstAt": "2026-07-01T14:03:01.250000Z",
                            "lastAt": "2026-07-01T14:03:48.100000Z",
                            "firstReceipt": RECEIPT,
                            "lastReceipt": RECEIPT,
                        }
                    ],
                    "nextCursor": None,
                },
            )
        },
        failures=[WRONG_PAGE, UNKNOWN_CLIENT, *ADMIN_KEY],
    ),
)
