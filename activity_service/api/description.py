"""The API as a whole: its calls, and what is published about all of them."""

from activity_service.api import api_usage, plan_plays
from activity_service.api.responses import (
    ErrorSchema,
    InvalidRequestSchema,
    RefusalSchema,
    render_error,
    render_index,
)
from service_chassis.http.json_body import PUBLIC_BODY_LIMIT_BYTES
from service_chassis.openapi.endpoint import STRICT_JSON, Api
from service_chassis.version import VERSION

ENDPOINTS = (*plan_plays.ENDPOINTS, *api_usage.ENDPOINTS)

API = Api(
    title="Activity",
    version=VERSION,
    description=f"""Plan plays: a user's way through a plan, from its creation to its completion.

**How to use it.** With an access token of the catalog (`POST /generate-client-auth-token`):

```sh
curl -s localhost:8082/api/plan-plays -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
  -H "Idempotency-Key: $(uuidgen)" -d '{{"planId": "plan-abc-123", "userId": "user-1"}}'
```

A token that was asked for with a `user` acts for that user, one without for the whole client.

**What is billable.** Creating a play (`plan_play.created`), and ending one for the first time
(`plan_play.completed`). Each is charged exactly once, whatever fails in between; everything else is free. Send an
`Idempotency-Key` with a create and you may repeat it as often as you like: the first response comes again, and
nothing is created or charged twice.

**When it is refused.** 429, and nothing was created, changed or charged:

| `code` | what is used up | `retryAfterSeconds` |
|---|---|---|
| `api_rate_limited` | requests for the moment | until the next one passes |
| `api_quota_exceeded` | the quota of this period | until the period ends, null if it is more than the quota holds |
| `api_balance_exhausted` | prepaid credits | null: more credits are needed |

Where only charges under way stand in the way, the seconds are the longest that those can take. `Retry-After` is sent
where they are not null. `RateLimit` and `RateLimit-Policy` say on every billable call what is left.

**Responses.** `{{"data": ...}}`, or `{{"error": "a sentence"}}`; a 400 adds `details`, field by field. 401: no good
token. 403: another client's or user's play. Repeat a 500 with the same `Idempotency-Key`: its outcome may be unknown.
503 was not even begun; wait `Retry-After` seconds. An unknown path is 404, another method 405.

**Requests.** {STRICT_JSON} Unknown fields are refused, and so are unknown query parameters of lists and usage.""",
    tags={
        "Plan plays": "A user's way through a plan, from its creation to its completion.",
        "Usage": "What a client was charged for and refused.",
    },
    bearer={"bearerFormat": "JWT", "description": "An `access_token` of the catalog's generate-client-auth-token."},
    render_error=render_error,
    render_index=render_index,
    error_schema=lambda status: {400: InvalidRequestSchema, 429: RefusalSchema}.get(status, ErrorSchema),
    body_limit_bytes=PUBLIC_BODY_LIMIT_BYTES,
)
