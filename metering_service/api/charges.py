"""Every charge there is, for whoever wants to compare it with the facts."""

from aiohttp import web
from marshmallow import Schema, fields

from metering_service.accounts.administer import find_charges
from metering_service.api.auth import for_keys
from metering_service.api.responses import (
    ADMIN_KEY,
    PAGE_PARAMETERS,
    WRONG_PAGE,
    parse_id,
    read_page,
    respond_page,
)
from metering_service.components import COMPONENTS
from service_chassis.http.query import read_query
from service_chassis.openapi.endpoint import Endpoint, Success
from service_chassis.schema.dump import compile_dump


class ChargeSchema(Schema):
    """One charged event. `credits` is signed as in the ledger: negative, or 0 for a free event."""

    event_id = fields.String(data_key="eventId", required=True)
    hold_id = fields.UUID(data_key="holdId", required=True)
    client_id = fields.String(data_key="clientId", required=True)
    event_type = fields.String(data_key="eventType", required=True)
    units = fields.Integer(required=True)
    credits = fields.Integer(required=True)
    late = fields.Boolean(required=True)
    at = fields.DateTime(required=True)


class ChargesSchema(Schema):
    """Charges, by event id."""

    charges = fields.List(fields.Nested(ChargeSchema), required=True)
    next_cursor = fields.String(data_key="nextCursor", allow_none=True, required=True)


_dump_charge = compile_dump(ChargeSchema())


@for_keys("admin")
async def list_charges(request: web.Request) -> web.Response:
    """GET /internal/charges."""
    limit, (event_id, client_id) = read_page(read_query(request, PAGE_PARAMETERS), ("", ""), parse_id, parse_id)
    page = await find_charges(request.app[COMPONENTS].pool, (event_id, client_id), limit)
    return respond_page("charges", page, _dump_charge, lambda last: (last.event_id, last.client_id))


_CHARGE_EXAMPLE = {
    "eventId": "plan_play.created:0198f2a4-7c1d-7b21-8a55-3c2d1e0f9b77",
    "holdId": "0198f2a4-7c1e-7f3a-9d43-0b1c5f6e7a88",
    "clientId": "demo",
    "eventType": "plan_play.created",
    "units": 1,
    "credits": -1,
    "late": False,
    "at": "2026-07-01T09:00:00.250000Z",
}

ENDPOINTS = (
    Endpoint(
        "GET",
        "/internal/charges",
        list_charges,
        summary="List charges",
        description="Every charge of every client, ordered by the bytes of `eventId`, so that a caller can merge it "
        "with a list of its own facts. Pages are read one by one: a charge made meanwhile is in it or not.",
        tag="accounts",
        parameters=PAGE_PARAMETERS,
        responses={
            200: Success("Charges, by event id.", ChargesSchema, {"charges": [_CHARGE_EXAMPLE], "nextCursor": None})
        },
        failures=[WRONG_PAGE, *ADMIN_KEY],
    ),
)
