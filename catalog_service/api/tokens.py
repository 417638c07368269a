"""Access tokens and the public keys that they are verified with."""

from aiohttp import web

from catalog_service.api.responses import (
    NEVER_KEPT,
    NO_STORE,
    WRONG_CREDENTIALS,
    describe_header,
    describe_success,
    respond,
)
from catalog_service.api.token_schemas import JsonWebKeySetSchema, TokenRequestSchema, TokenSchema
from catalog_service.components import COMPONENTS
from catalog_service.tokens.signing_key import JWKS_MAX_AGE
from service_chassis.errors import InvalidRequest
from service_chassis.http.json_body import read_body
from service_chassis.http.json_response import JsonResponse
from service_chassis.http.request_context import name_in_log
from service_chassis.openapi.endpoint import Endpoint, Failure, Success
from service_chassis.schema.dump import encode_json

_TOKEN_REQUEST = TokenRequestSchema()


async def generate_client_auth_token(request: web.Request) -> web.Response:
    """POST /generate-client-auth-token."""
    tokens = request.app[COMPONENTS].tokens
    wanted = await read_body(request, _TOKEN_REQUEST)
    token = await tokens.issue(wanted, address=request.remote or "")
    name_in_log(client_id=wanted["client_id"])
    data = {"access_token": token, "token_type": "Bearer", "expires_in": tokens.lifetime_seconds}
    return respond(data, NO_STORE)


async def show_public_keys(request: web.Request) -> web.Response:
    """GET /.well-known/jwks.json."""
    keys = await request.app[COMPONENTS].key_ring.published()
    cache_control = f"public, max-age={int(JWKS_MAX_AGE.total_seconds())}"
    return JsonResponse(encode_json({"keys": keys}), headers={"Cache-Control": cache_control})


# The demo's: what the page of the API sends as it stands works there.
_CREDENTIALS = {"client_id": "demo", "client_secret": "demo-secret", "fingerprint": "device-123"}
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

ENDPOINTS = (
    Endpoint(
        "POST",
        "/generate-client-auth-token",
        generate_client_auth_token,
        summary="Get an access token",
        description="With `user`, the token acts for that user, without it for the whole client.",
        tag="tokens",
        body=TokenRequestSchema,
        body_examples={
            "For the client": _CREDENTIALS,
            "For a user": {
                **_CREDENTIALS,
                "user": {"first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.org"},
            },
        },
        responses=describe_success(
            "The token.",
            TokenSchema,
            {"access_token": "eyJhbGciOiJFUzI1NiIs...", "token_type": "Bearer", "expires_in": 900},
            NEVER_KEPT,
        ),
        failures=[
            Failure(
                "The body is not acceptable; the message names the field.",
                InvalidRequest.field("plan_id", "Must be a string."),
                InvalidRequest.field("body", "Must be valid JSON in UTF-8."),
            ),
            *WRONG_CREDENTIALS,
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
        responses={
            200: Success(
                "The keys.",
                JsonWebKeySetSchema,
                {"keys": [_PUBLIC_KEY]},
                {"Cache-Control": describe_header("How long the keys may be kept.")},
            )
        },
        secured=False,
    ),
)
