"""What a client may see of itself, in one piece."""

from aiohttp import web
from marshmallow import Schema, fields

from metering_service.api.auth import for_keys
from metering_service.api.client_schemas import BalanceSchema, QuotaUseSchema
from metering_service.api.responses import (
    CLIENT_ID,
    describe_refused_keys,
    describe_wrong_field,
    read_identifier,
    respond,
)
from metering_service.api.usage import UsageSumSchema
from metering_service.components import COMPONENTS
from metering_service.usage.summarize import summarize
from service_chassis.http.query import MONTH, read_query
from service_chassis.openapi.endpoint import Endpoint, Success, query

_PARAMETERS = (query("month", "The month, UTC, as 2026-07; without, the present one.", MONTH),)


class SummarySchema(Schema):
    """A month's usage by event type, and prices, quotas and balance at present."""

    client_id = fields.String(data_key="clientId", required=True)
    month = fields.String(required=True)
    final = fields.Boolean(required=True)
    usage = fields.List(fields.Nested(UsageSumSchema), required=True)
    prices = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata={"description": "Credits per unit by event type; `*`: of those that are not listed."},
    )
    quotas = fields.List(fields.Nested(QuotaUseSchema), required=True, metadata={"description": "Those per client."})
    balance = fields.Nested(
        BalanceSchema, required=True, allow_none=True, metadata={"description": "Null where no event costs credits."}
    )


@for_keys("events", "admin")
async def summarize_client(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/summary."""
    client_id = read_identifier(request, "clientId")
    month = read_query(request, _PARAMETERS)["month"]
    components = request.app[COMPONENTS]
    return respond(await summarize(components.pool, components.default_policy, client_id, month))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/summary",
        summarize_client,
        summary="Summarize a client's month",
        description="What a client may see of itself: the usage of a month by event type, and at present its prices, "
        "quotas and balance. Of a client never heard of: the default policy, and nothing used. Scope `events` or "
        "`admin`.",
        tag="accounts",
        parameters=(CLIENT_ID, *_PARAMETERS),
        responses={
            200: Success(
                "The summary.",
                SummarySchema,
                {
                    "clientId": "demo",
                    "month": "2026-07",
                    "final": False,
                    "usage": [
                        {
                            "window": "2026-07-01",
                            "eventType": "plan_play.created",
                            "charged": 12,
                            "units": 12,
                            "credits": 12,
                            "overage": 0,
                            "refused": {"api_rate_limited": 3},
                            "lastAt": "2026-07-02T17:20:00Z",
                        }
                    ],
                    "prices": {"plan_play.created": 1, "*": 0},
                    "quotas": [],
                    "balance": {
                        "clientId": "demo",
                        "granted": 1000,
                        "adjusted": 0,
                        "spent": 12,
                        "expired": 0,
                        "held": 0,
                        "available": 988,
                        "expiringNext": None,
                        "grants": [],
                    },
                },
            )
        },
        failures=[
            describe_wrong_field("month", "Must be a month, such as 2026-07."),
            *describe_refused_keys("events", "admin"),
        ],
    ),
)
