"""The API as a whole: its calls, and what is published about all of them."""

from dataclasses import replace

from metering_service.api import (
    admin_audit,
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
    webhooks,
)
from metering_service.api.responses import ErrorSchema, render_error
from service_chassis.openapi.endpoint import STRICT_JSON, Api
from service_chassis.schema.dump import encode_json
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
    *webhooks.ENDPOINTS,
    *admin_audit.ENDPOINTS,
)
"""What keys of scope `admin` open, on the service's own port as on that of administration."""
ENDPOINTS = (*events.ENDPOINTS, *ADMIN_ENDPOINTS)

API = Api(
    title="Metering",
    version=VERSION,
    description=f"""Grants or denies billable events by each client's policy, and keeps the ledger. Internal.

**How to use it.** With a service key of scope `events`: before anything happens, authorize it under a `holdId` of
this attempt, a UUID, and an `eventId` of the fact; when it has happened, settle it; when it will not happen, release
it. All three may be repeated.

```sh
curl -s localhost:8083/internal/events/authorize -H "Authorization: Bearer $KEY" \\
  -H 'Content-Type: application/json' -d '{{"events": [{{"holdId": "'$(uuidgen)'", "eventId": "answer-17",
  "clientId": "acme", "eventType": "llm.tokens", "units": 500}}]}}'
```

`granted` is held until it is settled or released: a hold never ends by itself. `denied` says in `code` what is used
up (`api_rate_limited`, `api_quota_exceeded`, `api_balance_exhausted`, `event_type_not_sold`), and in
`retryAfterSeconds` when the event would pass. `error` was not decided: ask again. Keys of scope `admin` are for
operators: policies, credits, usage, decisions.

**Responses.** The document itself, or `{{"error", "code"}}`; a 400 adds `details`, field by field. 401: no good key.
403: the key has another scope. An unknown path is 404, another method 405. 503: wait `Retry-After` seconds.

**Requests.** {STRICT_JSON} Unknown fields and unknown query parameters are refused.""",
    tags={
        "events": "Decisions about billable events, and what became of them.",
        "policies": "Terms, and which client has which.",
        "accounts": "Credits: grants, adjustments, balance, quotas, ledger, charges, usage and refusals.",
        "webhooks": "What is told of clients, and whether its receivers have taken it.",
        "audit": "Who changed what.",
    },
    bearer={"description": "A service key, of the scope that the call names.", "bearerFormat": "key"},
    render_error=render_error,
    render_index=encode_json,
    error_schema=lambda _: ErrorSchema,
    body_limit_bytes=BODY_LIMIT_BYTES,
    refuses_unknown_query=True,
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
