"""The API as a whole: its calls, and what is published about all of them."""

from dataclasses import replace

from metering_service.api import (
    charges,
    clients,
    decisions,
    events,
    exports,
    grants,
    policies,
    recurring_grants,
    refusals,
    shadow,
    summaries,
    usage,
)
from metering_service.api.responses import ErrorSchema, render_error
from service_chassis.openapi.endpoint import STRICT_JSON, Api
from service_chassis.version import VERSION

BODY_LIMIT_BYTES = 1024 * 1024
"""500 events with the longest ids that are accepted fit."""

ADMIN_ENDPOINTS = (
    *events.READ_ENDPOINTS,
    *policies.ENDPOINTS,
    *clients.ENDPOINTS,
    *grants.ENDPOINTS,
    *recurring_grants.ENDPOINTS,
    *charges.ENDPOINTS,
    *usage.ENDPOINTS,
    *summaries.ENDPOINTS,
    *refusals.ENDPOINTS,
    *shadow.ENDPOINTS,
    *decisions.ENDPOINTS,
    *exports.ENDPOINTS,
)
"""What keys of scope `admin` open, on the service's own port as on that of administration."""
ENDPOINTS = (*events.ENDPOINTS, *ADMIN_ENDPOINTS)

API = Api(
    title="Metering",
    version=VERSION,
    description=(
        "Grants or denies billable events by each client's policy, and keeps the ledger. Internal.\n\n"
        f"{STRICT_JSON} Unknown fields and unknown query parameters are refused. An unknown path is answered "
        '404, another method 405 with `Allow`, both as `{"error", "code"}`.'
    ),
    tags={
        "events": "Decisions about billable events, and what became of them.",
        "policies": "Terms, and which client has which.",
        "accounts": "Credits: grants, adjustments, balance, quotas, ledger, charges, usage and refusals.",
    },
    bearer={"description": "A service key, of the scope that the call names.", "bearerFormat": "key"},
    render_error=render_error,
    error_schema=lambda _: ErrorSchema,
    body_limit="1 MiB",
)

ADMIN_API = replace(
    API,
    title="Metering administration",
    description=(
        "Policies, credits, usage and decisions, for operators and their console, on a listener of its own. The "
        "same calls are served on the service's port, which is internal.\n\n"
        f"{STRICT_JSON} Unknown fields and unknown query parameters are refused. An unknown path is answered "
        '404, another method 405 with `Allow`, both as `{"error", "code"}`.'
    ),
    bearer={"description": "A service key of scope `admin`.", "bearerFormat": "key"},
)
