"""What a client is given: grants, refunds, adjustments."""

from aiohttp import web

from metering_service.accounts import give_credits
from metering_service.api.auth import KEY, for_keys
from metering_service.api.client_schemas import LedgerEntrySchema
from metering_service.api.grant_schemas import (
    CreateAdjustmentSchema,
    CreateGrantSchema,
    CreateRefundSchema,
    GrantSchema,
    RefundSchema,
    VoidedGrantSchema,
    VoidGrantSchema,
)
from metering_service.api.responses import (
    ADMIN_KEY,
    CLIENT_ID,
    UNKNOWN_CLIENT,
    describe_identifier,
    describe_missing,
    describe_wrong_field,
    read_identifier,
    respond,
)
from metering_service.components import COMPONENTS
from metering_service.errors import (
    EventNotCharged,
    GrantEnded,
    GrantNotFound,
    InsufficientCredits,
    ReferenceReused,
    RefundTooLarge,
)
from service_chassis.http.json_body import read_body
from service_chassis.openapi.endpoint import Endpoint, Failure, Success
from service_chassis.schema.fields import REQUIRED

_CREATE_GRANT = CreateGrantSchema()
_VOID_GRANT = VoidGrantSchema()
_CREATE_REFUND = CreateRefundSchema()
_CREATE_ADJUSTMENT = CreateAdjustmentSchema()


@for_keys("admin")
async def create_grant(request: web.Request) -> web.Response:
    """POST /internal/clients/{clientId}/grants."""
    client_id = read_identifier(request, "clientId")
    terms = await read_body(request, _CREATE_GRANT)
    grant = await give_credits.give(request.app[COMPONENTS].pool, client_id, **terms, actor=request[KEY].name)
    return respond({**grant.as_document(), "clientId": client_id, "at": grant.created_at})


@for_keys("admin")
async def void_grant(request: web.Request) -> web.Response:
    """POST /internal/clients/{clientId}/grants/{grantId}/void."""
    client_id, grant_id = read_identifier(request, "clientId"), read_identifier(request, "grantId")
    body = await read_body(request, _VOID_GRANT)
    grant = await give_credits.void(
        request.app[COMPONENTS].pool, client_id, grant_id, **body, actor=request[KEY].name
    )
    return respond({"clientId": client_id, "grantId": grant_id, "voided": grant.lapsed, "held": grant.pinned})


@for_keys("admin")
async def create_refund(request: web.Request) -> web.Response:
    """POST /internal/clients/{clientId}/refunds."""
    client_id = read_identifier(request, "clientId")
    body = await read_body(request, _CREATE_REFUND)
    refund = await give_credits.refund(request.app[COMPONENTS].pool, client_id, **body, actor=request[KEY].name)
    return respond(
        {
            "clientId": client_id,
            "refundId": refund.grant_id,
            "eventId": refund.event_id,
            "credits": refund.credits,
            "reason": refund.note,
            "at": refund.created_at,
        }
    )


@for_keys("admin")
async def create_adjustment(request: web.Request) -> web.Response:
    """POST /internal/clients/{clientId}/adjustments."""
    client_id = read_identifier(request, "clientId")
    body = await read_body(request, _CREATE_ADJUSTMENT)
    entry = await give_credits.adjust(request.app[COMPONENTS].pool, client_id, **body, actor=request[KEY].name)
    return respond(entry.as_document())


_AT = "2026-07-01T09:00:00Z"
_GRANT_BODY = {
    "grantId": "order-1001",
    "credits": 1000,
    "effectiveAt": _AT,
    "expiresAt": "2030-01-01T00:00:00Z",
    "priority": 50,
    "source": "sales",
    "note": "First order",
}
_REFUND_BODY = {"refundId": "ticket-18", "eventId": "plan_play.created:0198f2a4", "credits": 1, "reason": "It failed"}
_ADJUSTMENT_BODY = {"adjustmentId": "ticket-17", "credits": -5, "reason": "Granted twice by mistake"}

ENDPOINTS = (
    Endpoint(
        "POST",
        "/internal/clients/{clientId}/grants",
        create_grant,
        summary="Grant credits",
        description="Gives a client credits, from now or `effectiveAt` on, for good or until `expiresAt`, once per "
        "`grantId`: the same grant again changes nothing and gets the same response. Grants are drawn in the order "
        "of `priority`, soonest expiry and age. A client that metering does not know is refused unless `create` is "
        "true.",
        tag="accounts",
        parameters=(CLIENT_ID,),
        body=CreateGrantSchema,
        body_examples={"An order": _GRANT_BODY},
        responses={200: Success("The grant.", GrantSchema, {**_GRANT_BODY, "clientId": "demo", "at": _AT})},
        failures=[
            describe_wrong_field("credits", REQUIRED),
            *ADMIN_KEY,
            UNKNOWN_CLIENT,
            Failure("The grantId was used with other content.", ReferenceReused("order-1001")),
        ],
    ),
    Endpoint(
        "POST",
        "/internal/clients/{clientId}/grants/{grantId}/void",
        void_grant,
        summary="Void a grant",
        description="Takes what is left of a grant. What live holds lie on they may still spend; what they give back "
        "lapses. A voided grant again changes nothing.",
        tag="accounts",
        parameters=(CLIENT_ID, describe_identifier("grantId", "The grant's id.")),
        body=VoidGrantSchema,
        body_examples={"An order that was cancelled": {"reason": "The order was cancelled"}},
        responses={
            200: Success(
                "What became of it.",
                VoidedGrantSchema,
                {"clientId": "demo", "grantId": "order-1001", "voided": 997, "held": 1},
            )
        },
        failures=[
            describe_wrong_field("reason", REQUIRED),
            *ADMIN_KEY,
            describe_missing(GrantNotFound("order-1001")),
            Failure("Nothing is left of the grant.", GrantEnded("order-1001", "expired")),
        ],
    ),
    Endpoint(
        "POST",
        "/internal/clients/{clientId}/refunds",
        create_refund,
        summary="Refund a charge",
        description="Gives back credits of an event's charge, as a grant without expiry, once per `refundId`; all "
        "refunds of an event together are at most what it was charged. What it used of quotas stays used.",
        tag="accounts",
        parameters=(CLIENT_ID,),
        body=CreateRefundSchema,
        body_examples={"A play that failed": _REFUND_BODY},
        responses={200: Success("The refund.", RefundSchema, {"clientId": "demo", **_REFUND_BODY, "at": _AT})},
        failures=[
            describe_wrong_field("eventId", REQUIRED),
            *ADMIN_KEY,
            describe_missing(EventNotCharged("plan_play.created:0198f2a4")),
            Failure(
                "The refundId was used with other content, or it is more than was charged.",
                ReferenceReused("ticket-18"),
                RefundTooLarge("plan_play.created:0198f2a4", 0),
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
        parameters=(CLIENT_ID,),
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
                    "actor": "sales",
                    "note": "Granted twice by mistake",
                    "reference": "ticket-17",
                },
            )
        },
        failures=[
            describe_wrong_field("credits", "Must not be 0."),
            *ADMIN_KEY,
            UNKNOWN_CLIENT,
            Failure(
                "The adjustmentId was used with other content, or there are too few credits.",
                ReferenceReused("ticket-17"),
                InsufficientCredits(),
            ),
        ],
    ),
)
