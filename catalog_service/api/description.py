"""The API as a whole: its calls, and what is published about all of them."""

from collections.abc import Sequence
from dataclasses import replace

from catalog_service.api import plans, tokens
from catalog_service.api.responses import ErrorSchema, render_error
from service_chassis.openapi.endpoint import STRICT_JSON, Api, Endpoint
from service_chassis.version import VERSION

ENDPOINTS = (*tokens.ENDPOINTS, *plans.ENDPOINTS)
ADMIN_ENDPOINTS: Sequence[Endpoint] = ()

API = Api(
    title="Catalog",
    version=VERSION,
    description=(
        "Access tokens for clients and their users, and the clients' plans.\n\nEvery response is an envelope whose "
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

ADMIN_API = replace(
    API,
    title="Catalog administration",
    description=(
        "Clients, for operators, on a listener of its own.\n\nEvery response is an envelope whose `statusCode` is "
        f"the HTTP status. {STRICT_JSON} Unknown fields are ignored, unknown query parameters refused. An unknown "
        "path is answered 404, another method 405 with `Allow`, both in the envelope."
    ),
    tags={},
    bearer={"description": "An admin key.", "bearerFormat": "key"},
)
