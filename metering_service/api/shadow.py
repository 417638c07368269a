"""What shadow policies would have refused."""

from datetime import date

from aiohttp import web
from marshmallow import Schema, fields

from metering_service.api.auth import for_keys
from metering_service.api.responses import (
    ADMIN_KEY,
    PAGE_PARAMETERS,
    WRONG_PAGE,
    describe_identifier,
    describe_missing,
    parse_id,
    read_identifier,
    read_page,
    respond_page,
)
from metering_service.components import COMPONENTS
from metering_service.errors import PolicyNotFound
from metering_service.shadow.keep import FIRST_REFUSALS, report_shadow
from metering_service.shadow.verdict import ShadowRefusals
from service_chassis.http.query import read_query
from service_chassis.openapi.endpoint import Endpoint, Success, query

_DAY = {"type": "string", "format": "date"}
_PARAMETERS = (
    query("from", "The first day, UTC; without, any.", _DAY),
    query("to", "The day after the last one.", _DAY),
    *PAGE_PARAMETERS,
)


class ShadowRefusalsSchema(Schema):
    """What a policy would have refused of a client on a UTC day for one reason."""

    day = fields.Date(required=True)
    client_id = fields.String(data_key="clientId", required=True)
    code = fields.String(required=True)
    limit = fields.String(
        required=True, allow_none=True, metadata={"description": "The rate or quota; null: neither of them."}
    )
    would_refuse = fields.Integer(data_key="wouldRefuse", required=True)
    credits = fields.Integer(required=True, metadata={"description": "What they were worth by the policy's prices."})


class ShadowReportSchema(Schema):
    """Lines by day, client, code and limit."""

    policy_id = fields.String(data_key="policyId", required=True)
    refusals = fields.List(fields.Nested(ShadowRefusalsSchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)


@for_keys("admin")
async def get_shadow_report(request: web.Request) -> web.Response:
    """GET /internal/policies/{policyId}/shadow-report."""
    policy_id = read_identifier(request, "policyId")
    asked = read_query(request, _PARAMETERS)
    limit, after = read_page(asked, FIRST_REFUSALS, date.fromisoformat, parse_id, parse_id, parse_id)
    page = await report_shadow(
        request.app[COMPONENTS].pool, policy_id, asked["from"], asked["to"], tuple(after), limit
    )
    return respond_page(
        "refusals",
        page,
        ShadowRefusals.as_document,
        lambda last: (last.day, last.client_id, last.code, last.limit),
        policyId=policy_id,
    )


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
        failures=[WRONG_PAGE, describe_missing(PolicyNotFound("stricter")), *ADMIN_KEY],
    ),
)
