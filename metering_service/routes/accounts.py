"""A client's credits: grants, adjustments, balance, quota, ledger."""

from typing import Any

import asyncpg
from aiohttp import web

from metering_service.policy import find_period
from metering_service.routes.answers import COMMON_ANSWERS, PAGE_PARAMETERS, answer, read_limit
from metering_service.routes.policies import read_identifier
from metering_service.schemas import (
    AdjustmentRequest,
    BalanceSchema,
    ErrorResponse,
    GrantRequest,
    GrantSchema,
    LedgerEntrySchema,
    LedgerResponse,
    QuotaStateSchema,
)
from metering_service.wiring import METERING
from service_chassis.json_body import read_body
from service_chassis.openapi import Answer, Endpoint, path

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
    after = metering.cursors.open(cursor, scope)[0] if cursor else 0
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


_CLIENT_ID = path("clientId", "The client's id.")
_CONFLICT = {409: Answer("The id was used with other content, or there are too few credits.", ErrorResponse)}

ENDPOINTS = (
    Endpoint(
        "POST",
        "/internal/clients/{clientId}/grants",
        create_grant,
        summary="Give a client credits, once per grantId",
        tag="accounts",
        parameters=(_CLIENT_ID,),
        body=GrantRequest,
        body_example={"grantId": "order-1001", "credits": 1000, "source": "sales", "note": "First order"},
        answers={200: Answer("The grant.", GrantSchema), **_CONFLICT, **COMMON_ANSWERS},
    ),
    Endpoint(
        "POST",
        "/internal/clients/{clientId}/adjustments",
        create_adjustment,
        summary="Correct a client's credits, once per adjustmentId",
        description="Never takes what is available below 0.",
        tag="accounts",
        parameters=(_CLIENT_ID,),
        body=AdjustmentRequest,
        body_example={"adjustmentId": "ticket-17", "credits": -5, "reason": "Granted twice by mistake"},
        answers={200: Answer("The ledger line.", LedgerEntrySchema), **_CONFLICT, **COMMON_ANSWERS},
    ),
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/balance",
        get_balance,
        summary="What a client has",
        tag="accounts",
        parameters=(_CLIENT_ID,),
        answers={200: Answer("The balance.", BalanceSchema), **COMMON_ANSWERS},
    ),
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/quota",
        get_quota,
        summary="The present period's quota",
        tag="accounts",
        parameters=(_CLIENT_ID,),
        answers={200: Answer("The quota.", QuotaStateSchema), **COMMON_ANSWERS},
    ),
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/ledger",
        list_ledger,
        summary="Every line of a client's ledger",
        tag="accounts",
        parameters=(_CLIENT_ID, *PAGE_PARAMETERS),
        answers={200: Answer("Entries, oldest first.", LedgerResponse), **COMMON_ANSWERS},
    ),
)
