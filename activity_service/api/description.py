"""The API as a whole: its calls, and what is published about all of them."""

from activity_service.api import api_usage, plan_plays
from activity_service.api.responses import ErrorSchema, InvalidRequestSchema, RefusalSchema, render_error
from service_chassis.openapi.endpoint import STRICT_JSON, Api
from service_chassis.version import VERSION

ENDPOINTS = (*plan_plays.ENDPOINTS, *api_usage.ENDPOINTS)

API = Api(
    title="Activity",
    version=VERSION,
    description=(
        f"Plan plays, each creation and each completion billed exactly once.\n\n{STRICT_JSON} Unknown fields are "
        "refused, and so are unknown query parameters of lists and usage. An unknown path is 404, another method 405 "
        'with `Allow`, both as `{"error"}`.'
    ),
    tags={
        "Plan plays": "A user's way through a plan, from its creation to its completion.",
        "Usage": "What a client was charged for and refused.",
    },
    bearer={"bearerFormat": "JWT", "description": "An `access_token` of the catalog's generate-client-auth-token."},
    render_error=render_error,
    error_schema=lambda status: {400: InvalidRequestSchema, 429: RefusalSchema}.get(status, ErrorSchema),
    body_limit="64 KiB",
)
