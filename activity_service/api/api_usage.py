"""A client's own usage: a month in sums, and one by one."""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from activity_service.api.api_usage_schemas import OneSummarySchema, UsageEventListSchema
from activity_service.api.auth import authenticate
from activity_service.components import COMPONENTS
from activity_service.errors import Overloaded, UsageUnavailable
from activity_service.plays.plan_play import PLAY_COMPLETED, PLAY_CREATED
from metering_client.usage import ClientSummary, TypeUsage
from service_chassis.errors import Forbidden, InvalidRequest, Unauthorized
from service_chassis.http.json_response import JsonResponse
from service_chassis.http.query import MONTH, read_query
from service_chassis.openapi.endpoint import Endpoint, Failure, Success, path, query
from service_chassis.schema.dump import encode_json

_MOST, _USUAL = 200, 50
_MONTH = query("month", "The month, UTC, as 2026-07; without, the present one.", MONTH)
_PARAMETERS = (
    _MONTH,
    query("limit", "Most entries.", {"type": "integer", "minimum": 1, "maximum": _MOST, "default": _USUAL}),
    query("cursor", "The `nextCursor` of the page before, of the same month."),
)
_ROUTES = {PLAY_CREATED: ("POST", "/api/plan-plays"), PLAY_COMPLETED: ("PATCH", "/api/plan-plays/{id}")}


async def summarize_usage(request: web.Request) -> web.Response:
    """GET /api/client/{clientId}/api-usage/summary."""
    client_id = await _require_own_client(request)
    components = request.app[COMPONENTS]
    month = components.usage.choose_month(read_query(request, (_MONTH,))["month"])
    async with components.admission.take_place(client_id):
        summary = await components.usage.summarize(client_id, month)
    return JsonResponse(encode_json({"data": _render(client_id, f"{month:%Y-%m}", summary)}))


async def list_usage_events(request: web.Request) -> web.Response:
    """GET /api/client/{clientId}/api-usage/events."""
    client_id = await _require_own_client(request)
    components = request.app[COMPONENTS]
    asked = read_query(request, _PARAMETERS)
    month = components.usage.choose_month(asked["month"])
    async with components.admission.take_place(client_id):
        page = await components.usage.list_decisions(client_id, month, asked["limit"] or _USUAL, asked["cursor"])
    return JsonResponse(
        encode_json({"data": page.entries, "count": len(page.entries), "nextCursor": page.next_cursor})
    )


async def _require_own_client(request: web.Request) -> str:
    """Return the client in the path. Raises Forbidden for another one, and for a user."""
    caller = await authenticate(request)
    if request.match_info["clientId"] != caller.client_id or caller.user_id is not None:
        raise Forbidden
    return caller.client_id


def _render(client_id: str, month_key: str, summary: ClientSummary) -> dict[str, Any]:
    types = {event_type: TypeUsage(event_type) for event_type in _ROUTES} | dict(summary.types)
    return {
        "clientId": client_id,
        "monthKey": month_key,
        "totals": _count(types.values()),
        "routes": [_render_route(each, summary.price_of(each.event_type)) for each in types.values()],
        "quotas": summary.quotas,
        "balance": summary.balance,
    }


def _render_route(usage: TypeUsage, price: int | None) -> dict[str, Any]:
    method, pattern = _ROUTES.get(usage.event_type, (None, None))
    return {
        "routeKey": usage.event_type,
        "method": method,
        "pathPattern": pattern,
        "chargeMode": "free" if price == 0 else "billable",
        "defaultCreditCost": price,
        **_count([usage]),
        "lastRequestAt": usage.last_at,
    }


def _count(types: Iterable[TypeUsage]) -> dict[str, int]:
    counted = [(each.charged, each.refused, each.credits) for each in types]
    charged, refused, credits = (sum(column) for column in zip(*counted, strict=True))
    return {
        "totalRequests": charged + refused,
        "successfulRequests": charged,
        "failedRequests": refused,
        "totalCreditsConsumed": credits,
    }


_CLIENT_ID = path("clientId", "The client of the access token.")
_COUNTERS = {"totalRequests": 15, "successfulRequests": 12, "failedRequests": 3, "totalCreditsConsumed": 12}
_RECEIPT = {
    "policyId": "starter",
    "policyVersion": 2,
    "mode": "enforce",
    "wouldRefuse": None,
    "degraded": False,
    "credits": 1,
    "gates": {
        "rates": [{"name": "per minute", "limit": 100, "usedBefore": 3}],
        "quotas": [],
        "credits": {"availableBefore": 989},
    },
}
_FAILURES = (
    Failure("No access token, or one that is not valid.", Unauthorized()),
    Failure("Another client, a user's token, or one without the scope `plan_plays`.", Forbidden()),
    Failure("Metering, which keeps it, does not respond, or too many requests are under way.", UsageUnavailable(),
            Overloaded()),
)  # fmt: skip
_WRONG_MONTH = InvalidRequest.field("month", "Must be a month, such as 2026-07.")

ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/client/{clientId}/api-usage/summary",
        summarize_usage,
        summary="Summarize a client's month",
        description="A route for each billable event type: what was charged counts as successful, what was refused "
        "as failed. Charges are there once they are settled, refusals a second after they were. For a token of the "
        "client itself, without a user.",
        tag="Usage",
        parameters=[_CLIENT_ID, _MONTH],
        responses={
            200: Success(
                "The month.",
                OneSummarySchema,
                {
                    "data": {
                        "clientId": "demo",
                        "monthKey": "2026-07",
                        "totals": _COUNTERS,
                        "routes": [
                            {
                                "routeKey": "plan_play.created",
                                "method": "POST",
                                "pathPattern": "/api/plan-plays",
                                "chargeMode": "billable",
                                "defaultCreditCost": 1,
                                **_COUNTERS,
                                "lastRequestAt": "2026-07-02T17:20:00Z",
                            }
                        ],
                        "quotas": [
                            {
                                "name": "monthly plays",
                                "limit": 10_000,
                                "used": 12,
                                "resetsAt": "2026-08-01T00:00:00Z",
                            }
                        ],
                        "balance": {"available": 988, "held": 0, "expiringNext": None},
                    }
                },
            )
        },
        failures=[Failure("A parameter cannot be used.", _WRONG_MONTH), *_FAILURES],
    ),
    Endpoint(
        "GET",
        "/api/client/{clientId}/api-usage/events",
        list_usage_events,
        summary="List a client's charges and refusals",
        description="Of one month, newest first, with their receipts. Refusals of a minute are one entry, and are "
        "kept for 35 days by default. For a token of the client itself, without a user.",
        tag="Usage",
        parameters=[_CLIENT_ID, *_PARAMETERS],
        responses={
            200: Success(
                "A page.",
                UsageEventListSchema,
                {
                    "data": [
                        {
                            "kind": "charge",
                            "at": "2026-07-02T17:20:00Z",
                            "eventType": "plan_play.created",
                            "userId": "user-1",
                            "receipt": _RECEIPT,
                            "eventId": "plan_play.created:0197f0d2-8a51-7c3e-9b1a-6a9e0a4f2b11",
                            "units": 1,
                            "credits": 1,
                            "late": False,
                        }
                    ],
                    "count": 1,
                    "nextCursor": None,
                },
            )
        },
        failures=[
            Failure(
                "A parameter cannot be used.",
                _WRONG_MONTH,
                InvalidRequest.field("cursor", "Must be a cursor that this same list gave."),
            ),
            *_FAILURES,
        ],
    ),
)
