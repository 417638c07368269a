"""What shadow policies would have refused."""

from datetime import date
from typing import Any

from aiohttp import web

from metering_service.api.auth import authenticate
from metering_service.api.responses import (
    PAGE_PARAMETERS,
    WRONG_PAGE,
    describe_identifier,
    describe_missing,
    describe_refused_keys,
    parse_id,
    read_identifier,
    read_page,
    respond,
)
from metering_service.api.shadow_schemas import ShadowReportSchema
from metering_service.components import COMPONENTS
from metering_service.errors import PolicyNotFound
from metering_service.shadow.keep import FIRST_REFUSALS, report_shadow
from service_chassis.http.cursor import encode_cursor
from service_chassis.http.query import read_query
from service_chassis.openapi.endpoint import Endpoint, Success, query

_DAY = {"type": "string", "format": "date"}
_PARAMETERS = (
    query("from", "The first day, UTC; without, any.", _DAY),
    query("to", "The day after the last one.", _DAY),
    *PAGE_PARAMETERS,
)


async def get_shadow_report(request: web.Request) -> web.Response:
    """GET /internal/policies/{policyId}/shadow-report."""
    authenticate(request, "admin")
    policy_id = read_identifier(request, "policyId")
    asked = read_query(request, _PARAMETERS)
    limit, after = read_page(asked, FIRST_REFUSALS, _parse_day, parse_id, parse_id, parse_id)
    lines, last = await report_shadow(
        request.app[COMPONENTS].pool, policy_id, asked["from"], asked["to"], tuple(after), limit
    )
    cursor = encode_cursor(last.day, last.client_id, last.code, last.limit) if last else None
    refusals = [line.as_document() for line in lines]
    return respond({"policyId": policy_id, "refusals": refusals, "nextCursor": cursor})


def _parse_day(value: Any) -> date:
    if not isinstance(value, str):
        raise TypeError
    return date.fromisoformat(value)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/internal/policies/{policyId}/shadow-report",
        get_shadow_report,
        summary="Report what a policy would have refused",
        description="Of clients that have it as their `shadow`, and of those that have it while it is itself in mode "
        "`shadow`: how many events it would have refused, by day, client and limit, and what they were worth by its "
        "prices. Counted once a second, kept for 100 days by default; a process that is killed loses its last "
        "second.",
        tag="policies",
        parameters=(describe_identifier("policyId", "The policy's id."), *_PARAMETERS),
        responses={
            200: Success(
                "The report, oldest first.",
                ShadowReportSchema,
                {
                    "policyId": "stricter",
                    "refusals": [
                        {
                            "day": "2026-07-01",
                            "clientId": "demo",
                            "code": "api_quota_exceeded",
                            "limit": "monthly plays",
                            "wouldRefuse": 12,
                            "credits": 12,
                        }
                    ],
                    "nextCursor": None,
                },
            )
        },
        failures=[WRONG_PAGE, describe_missing(PolicyNotFound("stricter")), *describe_refused_keys("admin")],
    ),
)
