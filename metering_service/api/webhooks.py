"""Notices, and whether their receivers have taken them."""

from uuid import UUID

from aiohttp import web

from metering_service.api.auth import KEY, for_keys
from metering_service.api.responses import (
    ADMIN_KEY,
    PAGE_PARAMETERS,
    WRONG_PAGE,
    parse_id,
    read_page,
    respond,
    respond_page,
)
from metering_service.api.webhook_schemas import ReplayedSchema, ReplaySchema, WebhooksSchema
from metering_service.components import COMPONENTS
from metering_service.errors import NoticeNotFound, UnknownReceiver
from metering_service.notices.administer import LAST_WEBHOOK
from metering_service.notices.notice import State, Webhook
from metering_service.policies.policy import MAX_IDENTIFIER_CHARACTERS
from service_chassis.errors import InvalidRequest
from service_chassis.http.json_body import read_body
from service_chassis.http.query import read_moment, read_query
from service_chassis.openapi.endpoint import Endpoint, Failure, Success, path, query

_REPLAY = ReplaySchema()
_PARAMETERS = (
    query("clientId", "Of this client.", {"type": "string", "minLength": 1, "maxLength": MAX_IDENTIFIER_CHARACTERS}),
    query("state", "In this state.", {"type": "string", "enum": list(State)}),
    *PAGE_PARAMETERS,
)


@for_keys("admin")
async def list_webhooks(request: web.Request) -> web.Response:
    """GET /internal/webhooks."""
    asked = read_query(request, _PARAMETERS)
    limit, (at, notice_id, receiver) = read_page(asked, LAST_WEBHOOK, read_moment, UUID, parse_id)
    page = await request.app[COMPONENTS].webhooks.list_of(
        asked["clientId"], asked["state"], (at, notice_id, receiver), limit
    )
    return respond_page(
        "webhooks",
        page,
        Webhook.as_document,
        lambda last: (last.notice.at, last.notice.notice_id, last.receiver or ""),
    )


@for_keys("admin")
async def replay_notice(request: web.Request) -> web.Response:
    """POST /internal/notices/{noticeId}/replay."""
    try:
        notice_id = UUID(request.match_info["noticeId"])
    except ValueError:
        raise InvalidRequest.field("noticeId", "Must be a UUID.") from None
    body = await read_body(request, _REPLAY, optional=True)
    receivers = await request.app[COMPONENTS].webhooks.replay(notice_id, body["receiver"], actor=request[KEY].name)
    return respond({"noticeId": notice_id, "receivers": receivers})


_NOTICE_ID = "0f6c1a2e-5c0b-4b7e-9a55-3d0a0f3f7c11"
_EXAMPLE = {
    "noticeId": _NOTICE_ID,
    "at": "2026-07-21T14:03:11.250000Z",
    "clientId": "demo",
    "type": "metering.quota.reached",
    "receiver": "crm",
    "state": "dead",
    "attempts": 10,
    "nextAttemptAt": None,
    "lastError": "status 503",
    "deliveredAt": None,
    "deadAt": "2026-07-24T17:12:40.100000Z",
    "event": {
        "specversion": "1.0",
        "id": _NOTICE_ID,
        "source": "/metering",
        "type": "metering.quota.reached",
        "time": "2026-07-21T14:03:11.250000Z",
        "subject": "demo",
        "datacontenttype": "application/json",
        "data": {
            "clientId": "demo",
            "threshold": 0.8,
            "policyId": "starter",
            "policyVersion": 2,
            "quota": "monthly tokens",
            "counts": "units",
            "limit": 1_000_000,
            "used": 800_120,
            "resetsAt": "2026-08-01T00:00:00Z",
        },
    },
}

ENDPOINTS = (
    Endpoint(
        "GET",
        "/internal/webhooks",
        list_webhooks,
        summary="List webhooks",
        description="Notices with what became of sending each to each receiver, newest first. `dead` is one that was "
        "given up, `unsent` one that was written while no receiver was configured. Kept for 35 days at least.",
        tag="webhooks",
        parameters=_PARAMETERS,
        responses={200: Success("Webhooks.", WebhooksSchema, {"webhooks": [_EXAMPLE], "nextCursor": None})},
        failures=[WRONG_PAGE, *ADMIN_KEY],
    ),
    Endpoint(
        "POST",
        "/internal/notices/{noticeId}/replay",
        replay_notice,
        summary="Send a notice again",
        description="To one receiver or to all, whatever became of it, under the same id; attempts are counted anew.",
        tag="webhooks",
        parameters=(path("noticeId", "The notice's id.", {"type": "string", "format": "uuid"}),),
        body=ReplaySchema,
        body_required=False,
        body_examples={"To all": {}, "To one": {"receiver": "crm"}},
        responses={200: Success("It is due now.", ReplayedSchema, {"noticeId": _NOTICE_ID, "receivers": ["crm"]})},
        failures=[
            Failure(
                "There is no such notice, or no such receiver.", NoticeNotFound(_NOTICE_ID), UnknownReceiver("crm")
            ),
            *ADMIN_KEY,
        ],
    ),
)
