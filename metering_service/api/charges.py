"""Every charge there is, for whoever wants to hold it against the facts."""

from typing import Any

import asyncpg
from aiohttp import web

from metering_service.api.responses import PAGE_PARAMETERS, WRONG_PAGE, answer, read_limit, refuse_callers
from metering_service.api.schemas import ChargesResponse
from metering_service.components import METERING
from service_chassis.openapi.endpoint import Answer, Endpoint

_SCOPE = ["charges"]


async def list_charges(request: web.Request) -> web.Response:
    """GET /internal/charges."""
    metering = request.app[METERING]
    metering.service_keys.authenticate(request, "admin")
    limit = read_limit(request)
    cursor = request.query.get("cursor")
    after = metering.cursors.open(cursor, _SCOPE)[0] if cursor is not None else ""
    rows = await metering.accounts.list_charges(after, limit)
    more = metering.cursors.seal([rows[-1]["event_id"]], _SCOPE) if len(rows) == limit else None
    return answer({"charges": [_render_charge(row) for row in rows], "nextCursor": more})


def _render_charge(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "eventId": row["event_id"],
        "holdId": str(row["hold_id"]),
        "clientId": row["client_id"],
        "eventType": row["event_type"],
        "credits": row["credits"],
        "late": row["late"],
        "at": row["at"],
    }


_CHARGE_EXAMPLE = {
    "eventId": "plan_play.created:0198f2a4-7c1d-7b21-8a55-3c2d1e0f9b77",
    "holdId": "0198f2a4-7c1e-7f3a-9d43-0b1c5f6e7a88",
    "clientId": "demo",
    "eventType": "plan_play.created",
    "credits": -1,
    "late": False,
    "at": "2026-07-01T09:00:00.250000Z",
}

ENDPOINTS = (
    Endpoint(
        "GET",
        "/internal/charges",
        list_charges,
        summary="Every charge of every client",
        description="Ordered by the bytes of `eventId`, so that a caller can merge it with a list of its own facts. "
        "Pages are read one by one: a charge made meanwhile is in it or not.",
        tag="accounts",
        parameters=PAGE_PARAMETERS,
        answers={
            200: Answer("Charges, by event id.", ChargesResponse, {"charges": [_CHARGE_EXAMPLE], "nextCursor": None})
        },
        refusals=[WRONG_PAGE, *refuse_callers("admin")],
    ),
)
