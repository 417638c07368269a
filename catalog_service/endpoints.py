"""The table of calls: where each is routed, and what its page in the documentation says."""

from collections.abc import Mapping
from typing import Any

from catalog_service.envelope import OKAY, UNAUTHORIZED, UNEXPECTED
from catalog_service.plan_schemas import (
    GetPlanDetailsSchema,
    GetPlansSchema,
    PlanReferenceSchema,
    PlanSchema,
    SyncPlanSchema,
)
from catalog_service.routes import (
    generate_client_auth_token,
    get_plan_details,
    get_plans,
    show_public_keys,
    sync_plan,
)
from catalog_service.token_schemas import JsonWebKeySetSchema, TokenRequestSchema, TokenSchema
from service_chassis.openapi import Answer, Endpoint

_PLAN = {
    "plan_id": "plan-abc-123",
    "plan_name": "Basic Plan",
    "description": "The basic plan.",
    "collection_id": "collection-123",
    "color": "#336699",
    "created_at": "2025-01-15T10:30:00Z",
    "updated_at": "2025-01-15T10:30:00Z",
    "associated_documents": [{"document_id": "doc-123", "document_name": "Plan Overview"}],
    "associated_supplemental_benefits": [],
}
_NEW_PLAN = {name: _PLAN[name] for name in ("plan_name", "description", "collection_id", "color")}


def _envelope(data: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["statusCode", "data", "message"],
        "properties": {"statusCode": {"type": "integer"}, "data": data, "message": {"type": "string"}},
    }


def _okay(description: str, data: Any, example: Any, headers: Mapping[str, str] | None = None) -> dict[int, Answer]:
    body = {"statusCode": 200, "data": example, "message": OKAY}
    return {200: Answer(description, schema=_envelope(data), example=body, headers=headers or {})}


def _refusal(status: int, message: str, description: str) -> dict[int, Answer]:
    example = {"statusCode": status, "data": {}, "message": message}
    return {status: Answer(description, schema=_envelope({"type": "object", "maxProperties": 0}), example=example)}


_BODY_REFUSED = {
    **_refusal(400, "plan_id: Not a valid string.", "The body is not acceptable; the message names the field."),
    **_refusal(413, "Request body too large", "The body is larger than 64 KiB."),
    **_refusal(415, "Content-Type must be application/json", "The body is not JSON by its headers."),
}
_NO_TOKEN = _refusal(
    403,
    UNAUTHORIZED,
    "The token is missing, malformed, expired, wrongly signed, of another audience or lacks the "
    "scope `plans`, or its client is disabled.",
)
_NO_PLAN = _refusal(404, "Plan not found", "The client has no such plan.")
_FAULT = _refusal(500, UNEXPECTED, "A fault on our side.")

ENDPOINTS = [
    Endpoint(
        "POST",
        "/generate-client-auth-token",
        generate_client_auth_token,
        "Get an access token",
        {
            **_okay(
                "The token.",
                TokenSchema,
                {"access_token": "eyJ...", "token_type": "Bearer", "expires_in": 900},
                {"Cache-Control": "`no-store`"},
            ),
            **_BODY_REFUSED,
            **_refusal(401, "Invalid client credentials", "Unknown client, wrong secret, or disabled client."),
            **_FAULT,
        },
        description="With `user`, the token acts for that user, without it for the whole client.",
        tag="tokens",
        body=TokenRequestSchema,
        body_example={
            "client_id": "demo",
            "client_secret": "the client's secret",
            "fingerprint": "device-123",
            "user": {"first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.org"},
        },
        secured=False,
    ),
    Endpoint(
        "GET",
        "/.well-known/jwks.json",
        show_public_keys,
        "Get the keys that tokens are verified with",
        {
            200: Answer(
                "A JSON Web Key Set (RFC 7517); several keys while one takes over from another.",
                schema=JsonWebKeySetSchema,
                headers={"Cache-Control": "How long the keys may be kept."},
            ),
            **_FAULT,
        },
        tag="tokens",
        secured=False,
    ),
    Endpoint(
        "POST",
        "/get-plans",
        get_plans,
        "List plans",
        {
            **_okay(
                "The client's plans, in no particular order; gzipped for those who accept it.",
                {"type": "array", "items": PlanSchema},
                [_PLAN],
                {"Vary": "`Accept-Encoding`"},
            ),
            **_BODY_REFUSED,
            **_NO_TOKEN,
            **_FAULT,
        },
        description="Without a body, or without a `collection_id` in it: every plan of the client.",
        tag="plans",
        body=GetPlansSchema,
        body_required=False,
        body_example={"collection_id": "collection-123"},
    ),
    Endpoint(
        "POST",
        "/get-plan-details",
        get_plan_details,
        "Get one plan",
        {**_okay("The plan.", PlanSchema, _PLAN), **_BODY_REFUSED, **_NO_TOKEN, **_NO_PLAN, **_FAULT},
        tag="plans",
        body=GetPlanDetailsSchema,
        body_example={"plan_id": "plan-abc-123"},
    ),
    Endpoint(
        "POST",
        "/sync-plan",
        sync_plan,
        "Create, change or delete a plan",
        {
            **_okay(
                "The plan as it now is; only its id when it was deleted.",
                {"oneOf": [PlanSchema, PlanReferenceSchema]},
                _PLAN,
            ),
            **_BODY_REFUSED,
            **_NO_TOKEN,
            **_NO_PLAN,
            **_FAULT,
        },
        description="Create: `plan_name`, `description`, `collection_id` and `color`. "
        "Change: `plan_id` and any of those. Delete: `plan_id` and `is_delete: true`. "
        "`associated_documents` and `associated_supplemental_benefits` replace the whole array.",
        tag="plans",
        body=SyncPlanSchema,
        body_example=_NEW_PLAN,
    ),
]
