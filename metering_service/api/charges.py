"""Every charge there is, for whoever wants to compare it with the facts."""

from aiohttp import web

from metering_service.accounts.administer import find_charges
from metering_service.api.auth import authenticate
from metering_service.api.charge_schemas import ChargeSchema, ChargesSchema
from metering_service.api.responses import (
    PAGE_PARAMETERS,
    WRONG_PAGE,
    describe_refused_keys,
    parse_id,
    read_page,
    respond,
)
from metering_service.components import COMPONENTS
from service_chassis.http.cursor import encode_cursor
from service_chassis.http.query import read_query
from service_chassis.openapi.endpoint import Endpoint, Success
from service_chassis.schema.dump import compile_dump

_dump_charge = compile_dump(ChargeSchema())


async def list_charges(request: web.Request) -> web.Response:
    """GET /internal/charges."""
    authenticate(request, "admin")
    limit, (event_id, client_id) = read_page(read_query(request, PAGE_PARAMETERS), ("", ""), parse_id, parse_id)
    charges, last = await find_charges(request.app[COMPONENTS].pool, (event_id, client_id), limit)
    next_cursor = encode_cursor(last.event_id, last.client_id) if last else None
    return respond({"charges": [_dump_charge(charge) for charge in charges], "nextCursor": next_cursor})


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
        failures=[WRONG_PAGE, *describe_refused_keys("admin")],
    ),
)
