"""Who changed what about clients."""

from dataclasses import asdict

from aiohttp import web

from catalog_service.api.auth import authenticate_operator
from catalog_service.api.client_schemas import AdminAuditSchema
from catalog_service.api.responses import (
    ADMIN_KEY,
    PAGE_PARAMETERS,
    WRONG_PAGE,
    describe_success,
    read_page,
    respond,
)
from catalog_service.components import COMPONENTS
from service_chassis.database.admin_audit import LAST_LINE, list_changes
from service_chassis.http.cursor import encode_cursor
from service_chassis.http.query import read_query
from service_chassis.openapi.endpoint import Endpoint, query

_PARAMETERS = (
    query("client_id", "Changes of this client only.", {"type": "string", "minLength": 1, "maxLength": 64}),
    *PAGE_PARAMETERS,
)


async def list_admin_audit(request: web.Request) -> web.Response:
    """GET /admin/audit."""
    authenticate_operator(request)
    wanted = read_query(request, _PARAMETERS)
    limit, before = read_page(wanted, LAST_LINE, int)
    lines, last = await list_changes(request.app[COMPONENTS].pool, wanted["client_id"], before, limit)
    next_cursor = encode_cursor(last.audit_id) if last else None
    return respond({"entries": [asdict(line) for line in lines], "next_cursor": next_cursor})


ENDPOINTS = (
    Endpoint(
        "GET",
        "/admin/audit",
        list_admin_audit,
        summary="List administrative changes",
        description="Who did what to which client, whether over HTTP or by a command; newest first.",
        tag="audit",
        parameters=_PARAMETERS,
        responses=describe_success(
            "Changes, newest first.",
            AdminAuditSchema,
            {
                "entries": [
                    {
                        "audit_id": 7,
                        "at": "2026-07-01T09:00:00Z",
                        "actor": "ops",
                        "action": "revoke_secret",
                        "target": "acme",
                        "detail": {"secret_id": "3f9a02bc77e1d540"},
                    }
                ],
                "next_cursor": None,
            },
        ),
        failures=[WRONG_PAGE, ADMIN_KEY],
    ),
)
