"""Why a client was refused."""

from aiohttp import web

from metering_service.api.auth import authenticate
from metering_service.api.refusal_schemas import RefusalsSchema
from metering_service.api.responses import (
    PAGE_PARAMETERS,
    UNKNOWN_CLIENT,
    WRONG_PAGE,
    describe_identifier,
    describe_refused_keys,
    parse_id,
    read_known_client,
    read_page,
    respond,
)
from metering_service.components import COMPONENTS
from metering_service.refusals.keep import LAST_LINE, find_refusals
from service_chassis.http.cursor import encode_cursor
from service_chassis.http.query import read_moment, read_query
from service_chassis.openapi.endpoint import Endpoint, Success, query

_MOMENT = {"type": "string", "format": "date-time", "minLength": 1, "maxLength": 40}
TIME_PARAMETERS = (
    query("from", "The first minute, as 2026-07-01T14:03:00Z.", _MOMENT),
    query("to", "The minute after the last one.", _MOMENT),
)
_PARAMETERS = (*TIME_PARAMETERS, *PAGE_PARAMETERS)


async def list_refusals(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/refusals."""
    authenticate(request, "admin")
    asked = read_query(request, _PARAMETERS)
    limit, before = read_page(asked, LAST_LINE, read_moment, parse_id, parse_id, parse_id, parse_id)
    client_id = await read_known_client(request)
    lines, last = await find_refusals(
        request.app[COMPONENTS].pool, client_id, asked["from"], asked["to"], tuple(before), limit
    )
    cursor = encode_cursor(last.minute, last.event_type, last.code, last.limit, last.user_id) if last else None
    return respond({"refusals": [line.as_document() for line in lines], "nextCursor": cursor})


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
        parameters=(describe_identifier("clientId", "The client's id."), *_PARAMETERS),
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
        failures=[WRONG_PAGE, UNKNOWN_CLIENT, *describe_refused_keys("admin")],
    ),
)
