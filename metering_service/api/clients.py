"""What a client has and did: balance, quota, ledger."""

from aiohttp import web

from metering_service.accounts.account import LedgerEntry
from metering_service.accounts.administer import fetch_balance, list_entries
from metering_service.accounts.quota import list_quotas
from metering_service.api.auth import for_keys
from metering_service.api.client_schemas import (
    BalanceSchema,
    LedgerSchema,
    QuotasSchema,
)
from metering_service.api.responses import (
    ADMIN_KEY,
    CLIENT_ID,
    PAGE_PARAMETERS,
    UNKNOWN_CLIENT,
    WRONG_PAGE,
    describe_wrong_field,
    read_known_client,
    read_page,
    respond,
    respond_page,
)
from metering_service.components import COMPONENTS
from metering_service.policies.policy import MAX_IDENTIFIER_CHARACTERS, WRONG_IDENTIFIER
from service_chassis.http.query import read_query
from service_chassis.openapi.endpoint import Endpoint, Success, query

_QUOTA_PARAMETERS = (
    query(
        "userId",
        "Show the quotas per user, too, of this one.",
        {"type": "string", "minLength": 1, "maxLength": MAX_IDENTIFIER_CHARACTERS},
    ),
)


@for_keys("admin")
async def get_balance(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/balance."""
    client_id = await read_known_client(request)
    balance = await fetch_balance(request.app[COMPONENTS].pool, client_id)
    return respond(balance.as_document())


@for_keys("admin")
async def get_quota(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/quota."""
    user_id = read_query(request, _QUOTA_PARAMETERS)["userId"]
    client_id = await read_known_client(request)
    components = request.app[COMPONENTS]
    quotas = await list_quotas(components.pool, components.default_policy, [client_id], user_id)
    return respond({"clientId": client_id, "quotas": [quota.as_document() for quota in quotas[client_id]]})


@for_keys("admin")
async def list_ledger(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/ledger."""
    limit, (after,) = read_page(read_query(request, PAGE_PARAMETERS), (0,), int)
    client_id = await read_known_client(request)
    page = await list_entries(request.app[COMPONENTS].pool, client_id, after, limit)
    return respond_page("entries", page, LedgerEntry.as_document, lambda last: (last.entry_id,))


_AT = "2026-07-01T09:00:00Z"
_QUOTA_EXAMPLE = {
    "name": "monthly plays",
    "limit": 10_000,
    "counts": "events",
    "anchor": "calendar",
    "per": "client",
    "eventTypes": ["*"],
    "overage": 0,
    "period": "month",
    "startsAt": "2026-07-01T00:00:00Z",
    "used": 12,
    "held": 1,
    "resetsAt": "2026-08-01T00:00:00Z",
}
_GRANT_EXAMPLE = {
    "grantId": "order-1001",
    "kind": "grant",
    "state": "live",
    "credits": 1000,
    "left": 997,
    "effectiveAt": _AT,
    "expiresAt": "2026-10-01T00:00:00Z",
    "priority": 50,
    "source": "sales",
    "note": "First order",
}
_BALANCE_EXAMPLE = {
    "clientId": "demo",
    "granted": 1000,
    "adjusted": 0,
    "spent": 2,
    "expired": 0,
    "held": 1,
    "available": 997,
    "expiringNext": {"credits": 997, "at": "2026-10-01T00:00:00Z"},
    "grants": [_GRANT_EXAMPLE],
}
_SPEND = {
    "entryId": 4,
    "kind": "spend",
    "credits": -1,
    "eventId": "plan_play.created:0198f2a4-7c1d-7b21-8a55-3c2d1e0f9b77",
    "eventType": "plan_play.created",
    "at": _AT,
}

ENDPOINTS = (
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/balance",
        get_balance,
        summary="Get a balance",
        description="Read at one moment: granted + adjusted = spent + held + expired + available.",
        tag="accounts",
        parameters=(CLIENT_ID,),
        responses={
            200: Success(
                "The balance.",
                BalanceSchema,
                _BALANCE_EXAMPLE,
            )
        },
        failures=[UNKNOWN_CLIENT, *ADMIN_KEY],
    ),
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/quota",
        get_quota,
        summary="Get the quotas of the present period",
        description="Each quota of the client's policy, with what is charged and what is held of it.",
        tag="accounts",
        parameters=(CLIENT_ID, *_QUOTA_PARAMETERS),
        responses={200: Success("The quotas.", QuotasSchema, {"clientId": "demo", "quotas": [_QUOTA_EXAMPLE]})},
        failures=[describe_wrong_field("userId", WRONG_IDENTIFIER), UNKNOWN_CLIENT, *ADMIN_KEY],
    ),
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/ledger",
        list_ledger,
        summary="List a client's ledger",
        description="What was granted, refunded and adjusted, spent, and what expired or was voided. A free event "
        "is a spend of 0 credits.",
        tag="accounts",
        parameters=(CLIENT_ID, *PAGE_PARAMETERS),
        responses={200: Success("Entries, oldest first.", LedgerSchema, {"entries": [_SPEND], "nextCursor": None})},
        failures=[WRONG_PAGE, UNKNOWN_CLIENT, *ADMIN_KEY],
    ),
)
