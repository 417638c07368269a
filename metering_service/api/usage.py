"""What a client was charged for and refused, in sums."""

from collections.abc import Sequence

from aiohttp import web
from marshmallow import Schema, fields

from metering_service.api.auth import for_keys
from metering_service.api.responses import (
    ADMIN_KEY,
    CLIENT_ID,
    UNKNOWN_CLIENT,
    describe_wrong_field,
    read_known_client,
    respond,
)
from metering_service.components import COMPONENTS
from metering_service.usage.read import fetch_usage
from metering_service.usage.usage import GroupBy, Window
from service_chassis.http.query import read_query
from service_chassis.openapi.endpoint import Endpoint, Success, query

_WINDOWS: Sequence[Window] = ("day", "month")
_GROUPS: Sequence[GroupBy] = ("eventType", "user")
_DAY = {"type": "string", "format": "date"}
RANGE_PARAMETERS = (
    query("from", "The first day, UTC; without, the first of the month of `to`, or of the present one.", _DAY),
    query("to", "The day after the last one; without, tomorrow.", _DAY),
)
_PARAMETERS = (
    *RANGE_PARAMETERS,
    query(
        "window", "Sums of days, or of months.", {"type": "string", "enum": list(_WINDOWS), "default": _WINDOWS[0]}
    ),
    query("groupBy", "By what.", {"type": "string", "enum": list(_GROUPS), "default": _GROUPS[0]}),
)


class UsageSumSchema(Schema):
    """Charges and refusals of one event type, or charges of one user, in one day or month, told as its first day."""

    window = fields.Date(required=True)
    event_type = fields.String(data_key="eventType")
    user_id = fields.String(data_key="userId", allow_none=True)
    charged = fields.Integer(required=True)
    units = fields.Integer(required=True)
    credits = fields.Integer(required=True)
    overage = fields.Integer(metadata={"description": "Above the limits of quotas, in what each of them counts."})
    refused = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        metadata={"description": "How many events were refused, by code; those of the last second may be missing."},
    )
    last_at = fields.DateTime(
        data_key="lastAt", required=True, metadata={"description": "Of the last charge or refusal."}
    )


class UsageSchema(Schema):
    """Sums of a client's charges and refusals. `final`: the days are over, and nothing of them is held any more."""

    client_id = fields.String(data_key="clientId", required=True)
    from_day = fields.Date(data_key="from", required=True)
    to_day = fields.Date(data_key="to", required=True)
    final = fields.Boolean(required=True)
    usage = fields.List(fields.Nested(UsageSumSchema), required=True)


@for_keys("admin")
async def get_usage(request: web.Request) -> web.Response:
    """GET /internal/clients/{clientId}/usage."""
    asked = read_query(request, _PARAMETERS)
    client_id = await read_known_client(request)
    window: Window = asked["window"] or _WINDOWS[0]
    group_by: GroupBy = asked["groupBy"] or _GROUPS[0]
    usage = await fetch_usage(
        request.app[COMPONENTS].pool,
        client_id,
        asked["from"],
        asked["to"],
        window=window,
        group_by=group_by,
    )
    return respond(
        {
            "clientId": client_id,
            "from": usage.from_day,
            "to": usage.to_day,
            "final": usage.is_final,
            "usage": [each.as_document(group_by) for each in usage.sums],
        }
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/internal/clients/{clientId}/usage",
        get_usage,
        summary="Get usage",
        description="Sums of the ledger's charges, by the UTC day on which each fact happened, kept in the "
        "transactions that charge; and by event type how many events were refused, by code and by the UTC day of the "
        "refusal, written once a second.",
        tag="accounts",
        parameters=(CLIENT_ID, *_PARAMETERS),
        responses={
            200: Success(
                "The usage.",
                UsageSchema,
                {
                    "clientId": "demo",
                    "from": "2026-07-01",
                    "to": "2026-08-01",
                    "final": False,
                    "usage": [
                        {
                            "window": "2026-07-01",
                            "eventType": "llm.tokens",
                            "charged": 12,
                            "units": 9_000,
                            "credits": 18_000,
                            "overage": 0,
                            "refused": {"api_quota_exceeded": 3},
                            "lastAt": "2026-07-01T17:20:00Z",
                        }
                    ],
                },
            )
        },
        failures=[
            describe_wrong_field("from", "Must be a day, such as 2026-07-01."),
            UNKNOWN_CLIENT,
            *ADMIN_KEY,
        ],
    ),
)
