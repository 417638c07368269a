"""Who changed what about policies, clients and credits."""

from aiohttp import web
from marshmallow import Schema, fields

from metering_service.api.auth import for_keys
from metering_service.api.responses import (
    ADMIN_KEY,
    PAGE_PARAMETERS,
    WRONG_PAGE,
    read_page,
    respond_page,
)
from metering_service.components import COMPONENTS
from metering_service.policies.policy import MAX_IDENTIFIER_CHARACTERS
from service_chassis.database.admin_audit import LAST_LINE, AdminAuditLine, list_changes
from service_chassis.http.query import read_query
from service_chassis.openapi.endpoint import Endpoint, Success, query

_PARAMETERS = (
    query(
        "target",
        "Changes of this client or policy only.",
        {"type": "string", "minLength": 1, "maxLength": MAX_IDENTIFIER_CHARACTERS},
    ),
    *PAGE_PARAMETERS,
)


class AdminAuditLineSchema(Schema):
    """A change."""

    audit_id = fields.Integer(data_key="auditId", required=True)
    at = fields.DateTime(required=True)
    actor = fields.String(required=True, metadata={"description": "The name of a service key, or `command line`."})
    action = fields.String(required=True)
    target = fields.String(required=True, metadata={"description": "The id of a client or a policy."})
    detail = fields.Dict(required=True, metadata={"description": "What else is to be known of it."})


class AdminAuditSchema(Schema):
    """Changes, newest first."""

    entries = fields.List(fields.Nested(AdminAuditLineSchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)


@for_keys("admin")
async def list_admin_audit(request: web.Request) -> web.Response:
    """GET /internal/admin-audit."""
    wanted = read_query(request, _PARAMETERS)
    limit, (before,) = read_page(wanted, (LAST_LINE,), int)
    page = await list_changes(request.app[COMPONENTS].pool, wanted["target"], before, limit)
    return respond_page("entries", page, _render, lambda last: (last.audit_id,))


def _render(line: AdminAuditLine) -> dict[str, object]:
    return {
        "auditId": line.audit_id,
        "at": line.at,
        "actor": line.actor,
        "action": line.action,
        "target": line.target,
        "detail": line.detail,
    }


ENDPOINTS = (
    Endpoint(
        "GET",
        "/internal/admin-audit",
        list_admin_audit,
        summary="List administrative changes",
        description="Who did what to which client or policy, whether over HTTP or by a command; newest first.",
        tag="audit",
        parameters=_PARAMETERS,
        responses={
            200: Success(
                "Changes, newest first.",
                AdminAuditSchema,
                {
                    "entries": [
                        {
                            "auditId": 7,
                            "at": "2026-07-01T09:00:00Z",
                            "actor": "ops",
                            "action": "grant",
                            "target": "demo",
                            "detail": {"grantId": "order-1001", "credits": 1000},
                        }
                    ],
                    "nextCursor": None,
                },
            )
        },
        failures=[WRONG_PAGE, *ADMIN_KEY],
    ),
)
