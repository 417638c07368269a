"""The API as a whole: its calls, and what is published about all of them."""

from dataclasses import replace

from catalog_service.api import admin_audit, clients, plans, secrets, tokens
from catalog_service.api.responses import ErrorSchema, render_error, render_index
from service_chassis.http.json_body import PUBLIC_BODY_LIMIT_BYTES
from service_chassis.openapi.endpoint import STRICT_JSON, Api
from service_chassis.version import VERSION

ENDPOINTS = (*tokens.ENDPOINTS, *secrets.ENDPOINTS, *plans.ENDPOINTS)
ADMIN_ENDPOINTS = (*clients.ENDPOINTS, *secrets.ADMIN_ENDPOINTS, *admin_audit.ENDPOINTS)

API = Api(
    title="Catalog",
    version=VERSION,
    description=f"""Access tokens for clients and their users, and the clients' plans.

**How to use it.** Get a token with a client's id and secret, and send it with every other call:

```sh
curl -s localhost:8081/generate-client-auth-token -H 'Content-Type: application/json' \\
  -d '{{"client_id": "demo", "client_secret": "demo-secret", "fingerprint": "my-device"}}'
curl -s localhost:8081/get-plans -H 'Content-Type: application/json' -H "Authorization: Bearer $TOKEN" -d '{{}}'
```

With `user`, the token acts for that user of the client, without it for the whole client. It is good for 15 minutes
unless the operator said otherwise (`expires_in`), here and at the API for plan plays. A client sees its own plans
only.

**Responses.** Always `{{"statusCode", "data", "message"}}`, and `statusCode` is the HTTP status. 200: `message` is
`OKAY`. 400 names the field. 401 is a wrong id or secret, 403 a token that is missing, expired or not good. 404 is a
plan that the client does not have, an unknown path too, 405 another method. Repeat a 500 or 503, the latter after
`Retry-After` seconds.

**Requests.** {STRICT_JSON} Unknown fields are ignored. Send an `X-Request-ID` of yours, or quote the one of the
response, when you ask for help.""",
    tags={
        "tokens": "Access tokens, the keys that they are verified with, and the secrets that they are issued for.",
        "plans": "The plans of the client that the access token is for.",
    },
    bearer={"bearerFormat": "JWT", "description": "The `access_token` of generate-client-auth-token."},
    render_error=render_error,
    render_index=render_index,
    error_schema=lambda _: ErrorSchema,
    body_limit_bytes=PUBLIC_BODY_LIMIT_BYTES,
)

ADMIN_API = replace(
    API,
    title="Catalog administration",
    description=(
        "Clients, for operators, on a listener of its own.\n\nEvery response is an envelope whose `statusCode` is "
        f"the HTTP status. {STRICT_JSON} Unknown fields are ignored, unknown query parameters refused. An unknown "
        "path is answered 404, another method 405 with `Allow`, both in the envelope."
    ),
    tags={
        "clients": "Who may use the API, and what each may do.",
        "secrets": "What clients prove themselves with: several live ones each.",
        "audit": "Who changed what.",
    },
    bearer={"description": "An admin key.", "bearerFormat": "key"},
    refuses_unknown_query=True,
)
