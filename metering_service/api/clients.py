"""A client's credits: grants, adjustments, balance, quota, ledger."""

from typing import Any

import asyncpg
from aiohttp import web

from metering_service.accounts.account import InsufficientCredits, ReferenceReused
from metering_service.api.responses import (
    PAGE_PARAMETERS,
    WRONG_PAGE,
    answer,
    identifier,
    read_identifier,
    read_limit,
    refuse_callers,
    refuse_field,
)
from metering_service.api.schemas import (
    AdjustmentRequest,
    BalanceSchema,
    GrantRequest,
    GrantSchema,
    LedgerEntrySchema,
    LedgerResponse,
    QuotaStateSchema,
)
from metering_service.components import METERING
from metering_service.policies.policy import find_period
from service_chassis.http.json_body import read_body
from service_chassis.openapi.endpoint import Answer, Endpoint, Refusal

_GRANT = GrantRequest()
_ADJUSTMENT = AdjustmentRequest()


async def create_grant(request: web.Request) -> web.Response:
    """POST /internal/clients/{clientId}/grants."""
    metering = request.app[METERING]
    scope = metering.service_keys.authenticate(request, "admin")
    client_id = read_identifier(request, "clientId")
    grant = await read_body(request, _GRANT)
    entry = await metering.administer.grant(client_id, **grant, actor=f"key:{scope}")
    return answer(
        {
            "grantId": entry["reference"],
            "clientId": client_id,
            "credits": entry["credits"],
            "source": entry["source"],
            "note": entry["note"],
            "entryId": entry["entry_id"],
            "at": entry["at"],
        }
    )


async def create_adjustment(request: web.Request) -> web.Response:
    """POST /internal/clients/{clientId}/adjustments."""
    metering = request.app[METERING]
    scope = metering.service_keys.authenticate(request, "admin")
    client_id = read_identifier(request, "clientId")
    adjustment = await read_body(request, _ADJUSTMENT)
    return answer(render_entry(await metering.administer.adjust(client_id, **adjustment, actor=f"key:{scope}")))


async def get_balance(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/balance."""
    metering = request.app[METERING]
    metering.service_keys.authenticate(request, "admin")
    client_id = read_identifier(request, "clientId")
    row = await metering.accounts.fetch_balance(client_id)
    return answer(render_balance(client_id, row))


async def get_quota(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/quota."""
    metering = request.app[METERING]
    metering.service_keys.authenticate(request, "admin")
    client_id = read_identifier(request, "clientId")
    row = await metering.accounts.fetch_quota(client_id, metering.default_policy)
    if row["quota_limit"] is None:
        return answer({"limit": None})
    start, end = find_period(row["quota_period"], metering.clock())
    # The counters belong to the day, and to the month, of the last event; if that period is over they are history.
    present = row["counted_on"] is not None and row["counted_on"] >= start.date()
    return answer(
        {
            "clientId": client_id,
            "period": {"start": start, "end": end},
            "limit": row["quota_limit"],
            "used": row[f"{row['quota_period']}_used"] if present else 0,
            "held": row[f"{row['quota_period']}_held"] if present else 0,
        }
    )


async def list_ledger(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/ledger."""
    metering = request.app[METERING]
    metering.service_keys.authenticate(request, "admin")
    client_id = read_identifier(request, "clientId")
    limit = read_limit(request)
    scope = ["ledger", client_id]
    cursor = request.query.get("cursor")
    after = metering.cursors.open(cursor, scope)[0] if cursor is not None else 0
    rows = await metering.accounts.list_ledger(client_id, after, limit)
    more = metering.cursors.seal([rows[-1]["entry_id"]], scope) if len(rows) == limit else None
    return answer({"entries": [render_entry(row) for row in rows], "nextCursor": more})


def render_balance(client_id: str, row: asyncpg.Record | None) -> dict[str, Any]:
    """Render a balance; a client never heard of has nothing."""
    amounts = ("granted", "spent", "held", "available")
    return {"clientId": client_id, **{name: row[name] if row else 0 for name in amounts}}


def render_entry(row: asyncpg.Record) -> dict[str, Any]:
    """Render a line of the ledger, as LedgerEntrySchema says: without what does not apply."""
    optional = {
        "eventId": row["event_id"],
        "eventType": row["event_type"],
        "note": row["note"],
        "reference": row["reference"],
        "late": row["late"] or None,
    }
    return {
        "entryId": row["entry_id"],
        "kind": row["kind"],
        "credits": row["credits"],
        "at": row["at"],
        **{name: value for name, value in optional.items() if value is not None},
    }


_CLIENT_ID = identifier("clientId", "The client's id.")
_ADMIN = refuse_callers("admin")
_AT = "2026-07-01T09:00:00Z"
_GRANT_BODY = {"grantId": "order-1001", "credits": 1000, "source": "sales", "note": "First order"}
_ADJUSTMENT_BODY = {"adjustmentId": "ticket-17", "credits": -5, "reason": "Granted twice by mistake"}
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
        summary="Give a client credits, once per grantId",
        description="The same grant again changes nothing and is answered alike.",
        tag="accounts",
        parameters=(_CLIENT_ID,),
        body=GrantRequest,
        body_examples={"An order": _GRANT_BODY},
        answers={
            200: Answer("The grant.", GrantSchema, {**_GRANT_BODY, "clientId": "demo", "entryId": 1, "at": _AT})
        },
        refusals=[
            refuse_field("credits", "Missing data for required field."),
            *_ADMIN,
            Refusal(
                "The grantId was used with other content.",
                ReferenceReused("order-1001 was used before with other content"),
            ),
        ],
    ),
    Endpoint(
        "POST",
        "/internal/clients/{clientId}/adjustments",
        create_adjustment,
        summary="Correct a client's credits, once per adjustmentId",
        description="Never takes what is available below 0. The same adjustment again changes nothing.",
        tag="accounts",
        parameters=(_CLIENT_ID,),
        body=AdjustmentRequest,
        body_examples={"A correction": _ADJUSTMENT_BODY},
        answers={
            200: Answer(
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
        refusals=[
            refuse_field("credits", "Must not be 0."),
            *_ADMIN,
            Refusal(
                "The adjustmentId was used with other content, or there are too few credits.",
                ReferenceReused("ticket-17 was used before with other content"),
                InsufficientCredits(),
            ),
        ],
    ),
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/balance",
        get_balance,
        summary="What a client has",
        description="Of a client never heard of: nothing, in zeros.",
        tag="accounts",
        parameters=(_CLIENT_ID,),
        answers={
            200: Answer(
                "The balance.",
                BalanceSchema,
                {"clientId": "demo", "granted": 1000, "spent": 2, "held": 1, "available": 997},
            )
        },
        refusals=_ADMIN,
    ),
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/quota",
        get_quota,
        summary="The present period's quota",
        description="`limit` alone, null, where the client's policy has no quota.",
        tag="accounts",
        parameters=(_CLIENT_ID,),
        answers={
            200: Answer(
                "The quota.",
                QuotaStateSchema,
                {
                    "clientId": "demo",
                    "period": {"start": "2026-07-01T00:00:00Z", "end": "2026-08-01T00:00:00Z"},
                    "limit": 10_000,
                    "used": 12,
                    "held": 1,
                },
            )
        },
        refusals=_ADMIN,
    ),
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/ledger",
        list_ledger,
        summary="Every line of a client's ledger",
        description="Grants, adjustments and spends; a free event is a spend of 0 credits.",
        tag="accounts",
        parameters=(_CLIENT_ID, *PAGE_PARAMETERS),
        answers={200: Answer("Entries, oldest first.", LedgerResponse, {"entries": [_SPEND], "nextCursor": None})},
        refusals=[WRONG_PAGE, *_ADMIN],
    ),
)
