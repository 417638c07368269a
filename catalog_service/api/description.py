"""The table of calls: where each is routed, and what its page in the documentation says."""

from collections.abc import Mapping
from typing import Any

from catalog_service.api.envelope import OKAY, UNAUTHORIZED, ErrorSchema
from catalog_service.api.plan_schemas import (
    GetPlanDetailsSchema,
    GetPlansSchema,
    PlanReferenceSchema,
    PlanSchema,
    SyncPlanSchema,
)
from catalog_service.api.responses import render_error
from catalog_service.api.routes import (
    generate_client_auth_token,
    get_plan_details,
    get_plans,
    show_public_keys,
    sync_plan,
)
from catalog_service.api.token_schemas import JsonWebKeySetSchema, TokenRequestSchema, TokenSchema
from catalog_service.tokens.issue import TooManyAttempts
from service_chassis.errors import Forbidden, InvalidRequest, NotFound, Unauthorized
from service_chassis.openapi.endpoint import STRICT_JSON, Answer, Api, Endpoint, Refusal

API = Api(
    title="Catalog",
    version="1.0.0",
    description=(
        "Access tokens for clients and their users, and the clients' plans.\n\nEvery answer is an envelope whose "
        f"`statusCode` is the HTTP status. {STRICT_JSON} Unknown fields are ignored. An unknown path is answered "
        "404, another method 405 with `Allow`, both in the envelope."
    ),
    tags={
        "tokens": "Access tokens, and the public keys that they are verified with.",
        "plans": "The plans of the client that the access token is for.",
    },
    bearer={"bearerFormat": "JWT", "description": "The `access_token` of generate-client-auth-token."},
    render_error=render_error,
    error_schema=lambda _: ErrorSchema,
    body_limit="64 KiB",
)

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
# The example of RFC 7517, A.1.
_PUBLIC_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    "kid": "1",
    "use": "sig",
    "alg": "ES256",
}


def _okay(
    description: str, data: Any, example: Any, headers: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[int, Answer]:
    envelope = {
        "type": "object",
        "required": ["statusCode", "data", "message"],
        "properties": {
            "statusCode": {"type": "integer", "const": 200},
            "data": data,
            "message": {"type": "string", "const": OKAY},
        },
    }
    body = {"statusCode": 200, "data": example, "message": OKAY}
    return {200: Answer(description, envelope, body, headers or {})}


def _header(description: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "required": True, "schema": {"type": "string", **schema}}


_INVALID = Refusal(
    "The body is not acceptable; the message names the field.",
    InvalidRequest.field("plan_id", "Not a valid string."),
    InvalidRequest.field("body", "Must be valid JSON in UTF-8."),
)
_NO_TOKEN = Refusal(
    "The token is missing, malformed, expired, wrongly signed, of another audience or lacks the "
    "scope `plans`, or its client is disabled.",
    Forbidden(UNAUTHORIZED),
)
_NO_PLAN = Refusal("The client has no such plan.", NotFound("Plan not found"))

ENDPOINTS = [
    Endpoint(
        "POST",
        "/generate-client-auth-token",
        generate_client_auth_token,
        summary="Get an access token",
        description="With `user`, the token acts for that user, without it for the whole client.",
        tag="tokens",
        body=TokenRequestSchema,
        body_examples={
            "For a user": {
                "client_id": "demo",
                "client_secret": "the client's secret",
                "fingerprint": "device-123",
                "user": {"first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.org"},
            },
            "For the client": {
                "client_id": "demo",
                "client_secret": "the client's secret",
                "fingerprint": "device-123",
            },
        },
        answers=_okay(
            "The token.",
            TokenSchema,
            {"access_token": "eyJhbGciOiJFUzI1NiIs...", "token_type": "Bearer", "expires_in": 900},
            {"Cache-Control": _header("Nobody may keep it.", const="no-store")},
        ),
        refusals=[
            _INVALID,
            Refusal("Unknown client, wrong secret, or disabled client.", Unauthorized("Invalid client credentials")),
            Refusal(
                "As 401, and too often from this address; the right secret is never refused for it.",
                TooManyAttempts(headers={"Retry-After": "2"}),
            ),
        ],
        secured=False,
    ),
    Endpoint(
        "GET",
        "/.well-known/jwks.json",
        show_public_keys,
        summary="Get the keys that tokens are verified with",
        description="A JSON Web Key Set (RFC 7517); several keys while one takes over from another.",
        tag="tokens",
        answers={
            200: Answer(
                "The keys.",
                JsonWebKeySetSchema,
                {"keys": [_PUBLIC_KEY]},
                {"Cache-Control": _header("How long the keys may be kept.")},
            )
        },
        secured=False,
    ),
    Endpoint(
        "POST",
        "/get-plans",
        get_plans,
        summary="List plans",
        description="Without a body, or without a `collection_id` in it: every plan of the client.",
        tag="plans",
        body=GetPlansSchema,
        body_required=False,
        body_examples={"Of one collection": {"collection_id": "collection-123"}, "All": {}},
        answers=_okay(
            "The client's plans, in no particular order; gzipped for those who accept it.",
            {"type": "array", "items": PlanSchema},
            [_PLAN],
            {"Vary": _header("What the encoding depends on.", const="Accept-Encoding")},
        ),
        refusals=[_INVALID, _NO_TOKEN],
    ),
    Endpoint(
        "POST",
        "/get-plan-details",
        get_plan_details,
        summary="Get one plan",
        description="A plan of the client that the token is for.",
        tag="plans",
        body=GetPlanDetailsSchema,
        body_examples={"One plan": {"plan_id": "plan-abc-123"}},
        answers=_okay("The plan.", PlanSchema, _PLAN),
        refusals=[_INVALID, _NO_TOKEN, _NO_PLAN],
    ),
    Endpoint(
        "POST",
        "/sync-plan",
        sync_plan,
        summary="Create, change or delete a plan",
        description="Create: `plan_name`, `description`, `collection_id` and `color`. "
        "Change: `plan_id` and any of those. Delete: `plan_id` and `is_delete: true`. "
        "`associated_documents` and `associated_supplemental_benefits` replace the whole array.",
        tag="plans",
        body=SyncPlanSchema,
        body_examples={
            "Create": _NEW_PLAN,
            "Change": {"plan_id": "plan-abc-123", "color": "#993366"},
            "Delete": {"plan_id": "plan-abc-123", "is_delete": True},
        },
        answers=_okay(
            "The plan as it now is; only its id when it was deleted.",
            {"anyOf": [PlanSchema, PlanReferenceSchema]},
            _PLAN,
        ),
        refusals=[_INVALID, _NO_TOKEN, _NO_PLAN],
    ),
]
