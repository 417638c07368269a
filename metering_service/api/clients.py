"""A client's credits: grants, adjustments, balance, quota, ledger."""

from aiohttp import web

from metering_service.accounts.account import Balance
from metering_service.api.auth import authenticate
from metering_service.api.client_schemas import (
    BalanceSchema,
    CreateAdjustmentSchema,
    CreateGrantSchema,
    GrantSchema,
    LedgerEntrySchema,
    LedgerSchema,
    QuotasSchema,
)
from metering_service.api.responses import (
    PAGE_PARAMETERS,
    WRONG_IDENTIFIER,
    WRONG_PAGE,
    describe_identifier,
    describe_missing,
    describe_refused_keys,
    describe_wrong_field,
    read_identifier,
    read_page,
    respond,
)
from metering_service.components import COMPONENTS
from metering_service.errors import ClientNotFound, InsufficientCredits, ReferenceReused
from metering_service.policies.policy import MAX_IDENTIFIER_CHARACTERS
from service_chassis.http.cursor import encode_cursor
from service_chassis.http.json_body import read_body
from service_chassis.http.query import read_query
from service_chassis.openapi.endpoint import Endpoint, Failure, Success, query

_QUOTA_PARAMETERS = (
    query(
        "userId",
        "Show the quotas per user, too, of this one.",
        {"type": "string", "minLength": 1, "maxLength": MAX_IDENTIFIER_CHARACTERS},
    ),
)
_CREATE_GRANT = CreateGrantSchema()
_CREATE_ADJUSTMENT = CreateAdjustmentSchema()


async def create_grant(request: web.Request) -> web.Response:
    """POST /internal/clients/{clientId}/grants."""
    key = authenticate(request, "admin")
    client_id = read_identifier(request, "clientId")
    grant = await read_body(request, _CREATE_GRANT)
    entry = await request.app[COMPONENTS].accounts.grant(client_id, **grant, actor=key.name)
    return respond(
        {
            "grantId": entry.reference,
            "clientId": client_id,
            "credits": entry.credits,
            "source": entry.source,
            "note": entry.note,
            "entryId": entry.entry_id,
            "at": entry.at,
        }
    )


async def create_adjustment(request: web.Request) -> web.Response:
    """POST /internal/clients/{clientId}/adjustments."""
    key = authenticate(request, "admin")
    client_id = read_identifier(request, "clientId")
    adjustment = await read_body(request, _CREATE_ADJUSTMENT)
    entry = await request.app[COMPONENTS].accounts.adjust(client_id, **adjustment, actor=key.name)
    return respond(entry.as_document())


async def get_balance(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/balance."""
    authenticate(request, "admin")
    client_id = read_identifier(request, "clientId")
    balance = await request.app[COMPONENTS].accounts.fetch_balance(client_id)
    return respond((balance or Balance(client_id)).as_document())


async def get_quota(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/quota."""
    authenticate(request, "admin")
    client_id = read_identifier(request, "clientId")
    user_id = read_query(request, _QUOTA_PARAMETERS)["userId"]
    quotas = await request.app[COMPONENTS].quotas.list_of(client_id, user_id)
    return respond({"clientId": client_id, "quotas": [quota.as_document() for quota in quotas]})


async def list_ledger(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/ledger."""
    authenticate(request, "admin")
    client_id = read_identifier(request, "clientId")
    limit, (after,) = read_page(read_query(request, PAGE_PARAMETERS), (0,), int)
    entries, last = await request.app[COMPONENTS].accounts.list_entries(client_id, after, limit)
    next_cursor = encode_cursor(last.entry_id) if last else None
    return respond({"entries": [entry.as_document() for entry in entries], "nextCursor": next_cursor})


_CLIENT_ID = describe_identifier("clientId", "The client's id.")
_ADMIN = describe_refused_keys("admin")
_AT = "2026-07-01T09:00:00Z"
_GRANT_BODY = {"grantId": "order-1001", "credits": 1000, "source": "sales", "note": "First order"}
_ADJUSTMENT_BODY = {"adjustmentId": "ticket-17", "credits": -5, "reason": "Granted twice by mistake"}
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
        "POST",
        "/internal/clients/{clientId}/grants",
        create_grant,
        summary="Grant credits",
        description="Gives a client credits, once per `grantId`: the same grant again changes nothing and gets the "
        "same response. A client that metering does not know is refused unless `create` is true.",
        tag="accounts",
        parameters=(_CLIENT_ID,),
        body=CreateGrantSchema,
        body_examples={"An order": _GRANT_BODY},
        responses={
            200: Success("The grant.", GrantSchema, {**_GRANT_BODY, "clientId": "demo", "entryId": 1, "at": _AT})
        },
        failures=[
            describe_wrong_field("credits", "Missing data for required field."),
            *_ADMIN,
            describe_missing(ClientNotFound("demo")),
            Failure(
                "The grantId was used with other content.",
                ReferenceReused("order-1001"),
            ),
        ],
    ),
    Endpoint(
        "POST",
        "/internal/clients/{clientId}/adjustments",
        create_adjustment,
        summary="Adjust credits",
        description="Corrects a client's credits, up or down, once per `adjustmentId`: the same adjustment again "
        "changes nothing. Never takes what is available below 0.",
        tag="accounts",
        parameters=(_CLIENT_ID,),
        body=CreateAdjustmentSchema,
        body_examples={"A correction": _ADJUSTMENT_BODY},
        responses={
            200: Success(
                "The ledger line.",
                LedgerEntrySchema,
                {
                    "entryId": 9,
                    "kind": "adjust",
                    "credits": -5,
                    "at": _AT,
                    "note": "Granted twice by mistake",
                    "reference": "ticket-17",
                },
            )
        },
        failures=[
            describe_wrong_field("credits", "Must not be 0."),
            *_ADMIN,
            describe_missing(ClientNotFound("demo")),
            Failure(
                "The adjustmentId was used with other content, or there are too few credits.",
                ReferenceReused("ticket-17"),
                InsufficientCredits(),
            ),
        ],
    ),
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/balance",
        get_balance,
        summary="Get a balance",
        description="Of a client never heard of: nothing, in zeros.",
        tag="accounts",
        parameters=(_CLIENT_ID,),
        responses={
            200: Success(
                "The balance.",
                BalanceSchema,
                {"clientId": "demo", "granted": 1000, "spent": 2, "held": 1, "available": 997},
            )
        },
        failures=_ADMIN,
    ),
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/quota",
        get_quota,
        summary="Get the quotas of the present period",
        description="Each quota of the client's policy, with what is charged and what is held of it.",
        tag="accounts",
        parameters=(_CLIENT_ID, *_QUOTA_PARAMETERS),
        responses={200: Success("The quotas.", QuotasSchema, {"clientId": "demo", "quotas": [_QUOTA_EXAMPLE]})},
        failures=[describe_wrong_field("userId", WRONG_IDENTIFIER), *_ADMIN],
    ),
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/ledger",
        list_ledger,
        summary="List a client's ledger",
        description="Grants, adjustments and spends; a free event is a spend of 0 credits.",
        tag="accounts",
        parameters=(_CLIENT_ID, *PAGE_PARAMETERS),
        responses={200: Success("Entries, oldest first.", LedgerSchema, {"entries": [_SPEND], "nextCursor": None})},
        failures=[WRONG_PAGE, *_ADMIN],
    ),
)
