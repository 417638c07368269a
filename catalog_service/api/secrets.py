"""Clients' secrets: what operators do with them, and a client with its own."""

from datetime import timedelta

from aiohttp import web

from catalog_service.api.auth import authenticate_operator
from catalog_service.api.client_schemas import (
    IssuedSecretSchema,
    NewSecretSchema,
    OwnSecretSchema,
    RotatedSecretSchema,
    SecretReferenceSchema,
    SecretSchema,
    SecretsSchema,
)
from catalog_service.api.responses import (
    ADMIN_KEY,
    CLIENT_ID,
    NEVER_KEPT,
    NO_STORE,
    UNKNOWN_CLIENT,
    WRONG_CREDENTIALS,
    describe_success,
    describe_wrong_field,
    read_client_id,
    respond,
)
from catalog_service.clients.client import MAX_LIVE_SECRETS, SECRET_ID_FORM, WRONG_SECRET_ID
from catalog_service.components import COMPONENTS
from catalog_service.errors import ClientNotFound, SecretEnds, SecretNotFound, TooManySecrets
from service_chassis.errors import InvalidRequest
from service_chassis.http.json_body import read_body
from service_chassis.openapi.endpoint import Endpoint, Failure, path
from service_chassis.schema.dump import compile_dump

_NEW_SECRET = NewSecretSchema()
_OWN_SECRET = OwnSecretSchema()
_dump_secret = compile_dump(SecretSchema())
dump_issued = compile_dump(IssuedSecretSchema())
"""Returns the dict that an IssuedSecret is on the wire."""


async def rotate_client_secret(request: web.Request) -> web.Response:
    """POST /rotate-client-secret."""
    components = request.app[COMPONENTS]
    wanted = await read_body(request, _OWN_SECRET)
    client_id, overlap = wanted["client_id"], timedelta(seconds=wanted["overlap_seconds"])
    _, present = await components.credentials.authenticate(
        client_id, wanted["client_secret"], address=request.remote or ""
    )
    issued = await components.secrets.rotate_own(client_id, present, overlap=overlap)
    return respond({**dump_issued(issued), "previous_expires_at": issued.created_at + overlap}, NO_STORE)


async def list_secrets(request: web.Request) -> web.Response:
    """GET /admin/clients/{client_id}/secrets."""
    authenticate_operator(request)
    secrets = await request.app[COMPONENTS].secrets.list_live(read_client_id(request))
    return respond({"secrets": [_dump_secret(secret) for secret in secrets]})


async def issue_secret(request: web.Request) -> web.Response:
    """POST /admin/clients/{client_id}/secrets."""
    actor = authenticate_operator(request)
    client_id = read_client_id(request)
    wanted = await read_body(request, _NEW_SECRET, optional=True)
    return respond(
        dump_issued(await request.app[COMPONENTS].secrets.issue(client_id, **wanted, actor=actor)), NO_STORE
    )


async def revoke_secret(request: web.Request) -> web.Response:
    """DELETE /admin/clients/{client_id}/secrets/{secret_id}."""
    actor = authenticate_operator(request)
    client_id, secret_id = read_client_id(request), request.match_info["secret_id"]
    if not SECRET_ID_FORM.fullmatch(secret_id):
        raise InvalidRequest.field("secret_id", WRONG_SECRET_ID)
    await request.app[COMPONENTS].secrets.revoke(client_id, secret_id, actor=actor)
    return respond({"secret_id": secret_id})


_SECRET_ID = "3f9a02bc77e1d540"  # noqa: S105 - the id of none
ISSUED_EXAMPLE = {
    "client_id": "acme",
    "secret_id": _SECRET_ID,
    "client_secret": "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg",
    "created_at": "2026-07-01T09:00:00Z",
    "expires_at": None,
}
_SECRET_EXAMPLE = {
    "secret_id": _SECRET_ID,
    "created_at": "2026-07-01T09:00:00Z",
    "expires_at": "2026-07-02T09:00:00Z",
    "last_used_at": "2026-07-01T11:30:00Z",
}
_TOO_MANY = TooManySecrets(MAX_LIVE_SECRETS)

ENDPOINTS = (
    Endpoint(
        "POST",
        "/rotate-client-secret",
        rotate_client_secret,
        summary="Rotate one's own secret",
        description="A new secret for the one that is shown, which stays good for `overlap_seconds`: tokens go on "
        "being issued for both meanwhile. Other secrets of the client stay as they are. A secret that is told to "
        "end makes no other.",
        tag="tokens",
        body=OwnSecretSchema,
        body_examples={
            "With a day to change over": {"client_id": "demo", "client_secret": "the client's secret"},
            "At once": {"client_id": "demo", "client_secret": "the client's secret", "overlap_seconds": 0},
        },
        responses=describe_success(
            "The new secret, this once.",
            RotatedSecretSchema,
            {**ISSUED_EXAMPLE, "previous_expires_at": "2026-07-02T09:00:00Z"},
            NEVER_KEPT,
        ),
        failures=[
            describe_wrong_field("client_secret", "Must be a string."),
            *WRONG_CREDENTIALS,
            Failure("The secret is told to end, or there are as many as may be.", SecretEnds(), _TOO_MANY),
        ],
        secured=False,
    ),
)

ADMIN_ENDPOINTS = (
    Endpoint(
        "GET",
        "/admin/clients/{client_id}/secrets",
        list_secrets,
        summary="List a client's secrets",
        description="The live ones, by their ids, and when each was used.",
        tag="secrets",
        parameters=(CLIENT_ID,),
        responses=describe_success("Secrets, oldest first.", SecretsSchema, {"secrets": [_SECRET_EXAMPLE]}),
        failures=[UNKNOWN_CLIENT, ADMIN_KEY],
    ),
    Endpoint(
        "POST",
        "/admin/clients/{client_id}/secrets",
        issue_secret,
        summary="Issue a secret",
        description=f"A further one, shown this once. The others stay good; {MAX_LIVE_SECRETS} may live at once.",
        tag="secrets",
        parameters=(CLIENT_ID,),
        body=NewSecretSchema,
        body_required=False,
        body_examples={"Until it is told to end": {}, "For a time": {"expires_at": "2030-01-01T00:00:00Z"}},
        responses=describe_success("The secret.", IssuedSecretSchema, ISSUED_EXAMPLE, NEVER_KEPT),
        failures=[
            describe_wrong_field("expires_at", "Must be in the future."),
            Failure("There are as many as may be.", _TOO_MANY),
            UNKNOWN_CLIENT,
            ADMIN_KEY,
        ],
    ),
    Endpoint(
        "DELETE",
        "/admin/clients/{client_id}/secrets/{secret_id}",
        revoke_secret,
        summary="Revoke a secret",
        description="It opens nothing from now on. Tokens that were issued for it live to their end; disable the "
        "client to have the catalog refuse them.",
        tag="secrets",
        parameters=(
            CLIENT_ID,
            path("secret_id", "The secret's id.", {"type": "string", "pattern": f"^{SECRET_ID_FORM.pattern}$"}),
        ),
        responses=describe_success("It is revoked.", SecretReferenceSchema, {"secret_id": _SECRET_ID}),
        failures=[
            describe_wrong_field("secret_id", WRONG_SECRET_ID),
            Failure(
                "There is no such client, or it has no such secret.",
                SecretNotFound(_SECRET_ID),
                ClientNotFound("acm", "acme"),
            ),
            ADMIN_KEY,
        ],
    ),
)
